// Drives a cluster with client-go, as the many programs do that are written with it. The cluster is what KUBECONFIG
// names; each scenario works in a namespace of its own. Ends with status 0 when all is as client-go expects it.
//
// What a client cannot do itself it asks of whoever started it, by a line on its output that begins with "> ", and
// reads the answer as a line of its input; see chaos-tests/src/drive.rs.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// limit says that something hangs, not how fast it is.
const limit = 90 * time.Second

const image = "kontiki.local/web:1"

var scenarios = map[string]func(context.Context, *stage){
	"typed":      typed,
	"discovery":  discovered,
	"informers":  caches,
	"failover":   failover,
	"election":   election,
	"readiness":  readiness,
	"in-cluster": inCluster,
	"protobuf":   protobuf,
}

// stage is what each scenario works with.
type stage struct {
	config    *rest.Config
	client    *kubernetes.Clientset
	namespace string
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == inside {
		fromInside()
		return
	}
	for _, name := range os.Args[1:] {
		scenario, known := scenarios[name]
		if !known {
			fail("there is no scenario %q", name)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		stage := enter(ctx, name)
		scenario(ctx, stage)
		must(stage.client.CoreV1().Namespaces().Delete(ctx, stage.namespace, metav1.DeleteOptions{}))
		cancel()
		fmt.Printf("%s: served (%.1f s)\n", name, time.Since(began).Seconds())
	}
}

// enter connects and makes the scenario's namespace.
func enter(ctx context.Context, name string) *stage {
	config := configuration()
	namespace := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "client-go-" + name + "-"}}
	client := kubernetes.NewForConfigOrDie(config)
	made := got(client.CoreV1().Namespaces().Create(ctx, &namespace, metav1.CreateOptions{}))
	return &stage{config: config, client: client, namespace: made.Name}
}

// configuration is what KUBECONFIG says, and without client-go's own brake, which is for controllers in production.
// Typed clients speak protobuf, as those of Kubernetes' own components do.
func configuration() *rest.Config {
	config := got(clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG")))
	config.QPS = -1
	return config
}

var answers = bufio.NewReader(os.Stdin)

// ask has the one who started this program do something.
func ask(request string) string {
	fmt.Printf("> %s\n", request)
	answer := got(answers.ReadString('\n'))
	return strings.TrimSpace(answer)
}

// eventually looks until what is looked for is there; the last error says what was seen instead.
func eventually(ctx context.Context, what string, look func() error) {
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(context.Context) (bool, error) {
		last = look()
		return last == nil, nil
	})
	if err != nil {
		fail("%s: %v; last seen: %v", what, err, last)
	}
}

// refused is for a call that must fail with this reason.
func refused(reason metav1.StatusReason, err error) {
	if err == nil || apierrors.ReasonForError(err) != reason {
		fail("%s was expected and not: %v", reason, err)
	}
}

func assert(holds bool, format string, values ...any) {
	if !holds {
		fail(format, values...)
	}
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func got[T any](value T, err error) T {
	must(err)
	return value
}

func fail(format string, values ...any) {
	panic(fmt.Sprintf(format, values...))
}
