package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	apply "k8s.io/client-go/applyconfigurations/apps/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/retry"
)

// typed is the generated clientset: every verb, subresources, server-side apply, logs and commands.
func typed(ctx context.Context, s *stage) {
	version := got(s.client.Discovery().ServerVersion())
	assert(version.Major == "1", "version %v", version)
	configMaps(ctx, s)
	mayDo(ctx, s)
	deployments(ctx, s)
	applied(ctx, s)
}

func configMaps(ctx context.Context, s *stage) {
	maps := s.client.CoreV1().ConfigMaps(s.namespace)
	conf := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: map[string]string{"a": "1"}}
	made := got(maps.Create(ctx, conf, metav1.CreateOptions{FieldManager: "driver"}))
	assert(made.UID != "" && made.ResourceVersion != "" && !made.CreationTimestamp.IsZero(), "made: %v", made)
	assert(made.ManagedFields[0].Manager == "driver", "managers: %v", made.ManagedFields)
	_, err := maps.Create(ctx, conf, metav1.CreateOptions{})
	refused(metav1.StatusReasonAlreadyExists, err)

	change := made.DeepCopy()
	change.Data["a"] = "2"
	replaced := got(maps.Update(ctx, change, metav1.UpdateOptions{}))
	assert(replaced.Data["a"] == "2", "replaced: %v", replaced)
	_, err = maps.Update(ctx, change, metav1.UpdateOptions{})
	refused(metav1.StatusReasonConflict, err)
	patched := got(maps.Patch(ctx, "conf", types.MergePatchType, []byte(`{"data":{"a":null,"b":"3"}}`), metav1.PatchOptions{}))
	assert(len(patched.Data) == 1 && patched.Data["b"] == "3", "merged: %v", patched.Data)
	patched = got(maps.Patch(ctx, "conf", types.JSONPatchType, []byte(`[{"op":"test","path":"/data/b","value":"3"},{"op":"add","path":"/data/c","value":"4"}]`), metav1.PatchOptions{}))
	assert(len(patched.Data) == 2, "patched: %v", patched.Data)
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "dry"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	must(err)
	_, err = maps.Get(ctx, "dry", metav1.GetOptions{})
	refused(metav1.StatusReasonNotFound, err)
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "No_Good"}}, metav1.CreateOptions{})
	refused(metav1.StatusReasonInvalid, err)

	for number := range 25 {
		page := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "page-", Labels: map[string]string{"n": fmt.Sprint(number)}}}
		got(maps.Create(ctx, &page, metav1.CreateOptions{}))
	}
	pages := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return maps.List(ctx, options)
	}))
	pages.PageSize = 4
	seen := map[string]bool{}
	must(pages.EachListItem(ctx, metav1.ListOptions{LabelSelector: "n"}, func(item runtime.Object) error {
		seen[item.(*corev1.ConfigMap).Name] = true
		return nil
	}))
	assert(len(seen) == 25, "in pages: %d", len(seen))
	named := got(maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=conf"}))
	assert(len(named.Items) == 1, "by field: %v", named.Items)

	// A delete that is about another object of that name does nothing.
	other := types.UID("c8e0f4dc-0000-4000-8000-000000000000")
	err = maps.Delete(ctx, "conf", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	refused(metav1.StatusReasonConflict, err)
	must(maps.Delete(ctx, "conf", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &made.UID}}))
	must(maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "n"}))
	left := got(maps.List(ctx, metav1.ListOptions{LabelSelector: "n"}))
	assert(len(left.Items) == 0, "left: %v", left.Items)
}

// mayDo asks who one is and what one may do, and speaks with a service account's token.
func mayDo(ctx context.Context, s *stage) {
	attributes := authorizationv1.ResourceAttributes{Namespace: s.namespace, Verb: "create", Resource: "pods"}
	review := authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
	answer := got(s.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &review, metav1.CreateOptions{}))
	assert(answer.Status.Allowed, "create pods: %v", answer.Status)

	account := corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	accounts := s.client.CoreV1().ServiceAccounts(s.namespace)
	got(accounts.Create(ctx, &account, metav1.CreateOptions{}))
	token := got(accounts.CreateToken(ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token.Status.Token
	robot := &stage{config: config, client: clientOf(config), namespace: s.namespace}
	me := got(robot.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))
	assert(me.Status.UserInfo.Username == "system:serviceaccount:"+s.namespace+":robot", "I am %v", me.Status)
	_, err := robot.client.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
	refused(metav1.StatusReasonForbidden, err)
}

// web is a Deployment of so many web servers.
func web(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	probe := corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}},
		PeriodSeconds: 1,
	}
	container := corev1.Container{Name: "web", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, ReadinessProbe: &probe}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{container}},
			},
		},
	}
}

func rolledOut(d *appsv1.Deployment, replicas int32) error {
	status := d.Status
	if status.ObservedGeneration == d.Generation && status.UpdatedReplicas == replicas &&
		status.AvailableReplicas == replicas && status.Replicas == replicas {
		return nil
	}
	return fmt.Errorf("generation %d, status %v", d.Generation, status)
}

func deployments(ctx context.Context, s *stage) {
	all := s.client.AppsV1().Deployments(s.namespace)
	got(all.Create(ctx, web("web", 1), metav1.CreateOptions{}))
	scale := got(all.GetScale(ctx, "web", metav1.GetOptions{}))
	scale.Spec.Replicas = 2
	got(all.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}))
	eventually(ctx, "two replicas", func() error {
		d, err := all.Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return rolledOut(d, 2)
	})

	env := `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}`
	patched := got(all.Patch(ctx, "web", types.StrategicMergePatchType, []byte(env), metav1.PatchOptions{}))
	assert(patched.Spec.Template.Spec.Containers[0].Image == image, "merged by the container's name: %v", patched.Spec)
	must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		d := got(all.Get(ctx, "web", metav1.GetOptions{}))
		d.Spec.Template.Annotations = map[string]string{"changed": "yes"}
		_, err := all.Update(ctx, d, metav1.UpdateOptions{})
		return err
	}))
	eventually(ctx, "the rollout", func() error {
		return rolledOut(got(all.Get(ctx, "web", metav1.GetOptions{})), 2)
	})

	pods := s.client.CoreV1().Pods(s.namespace)
	running := got(pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web", FieldSelector: "status.phase=Running"}))
	at := slices.IndexFunc(running.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp == nil })
	pod := running.Items[at].Name
	commands(ctx, s, pod)

	// A budget that is spent refuses an eviction, with 429; without it the pod goes.
	minimum := intstr.FromInt32(2)
	budget := policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &minimum, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}
	budgets := s.client.PolicyV1().PodDisruptionBudgets(s.namespace)
	got(budgets.Create(ctx, &budget, metav1.CreateOptions{}))
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: s.namespace}}
	refused(metav1.StatusReasonTooManyRequests, pods.EvictV1(ctx, eviction))
	must(budgets.Delete(ctx, "web", metav1.DeleteOptions{}))
	must(pods.EvictV1(ctx, eviction))

	foreground := metav1.DeletePropagationForeground
	must(all.Delete(ctx, "web", metav1.DeleteOptions{PropagationPolicy: &foreground}))
	eventually(ctx, "no deployment and none of its pods", func() error {
		left, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil || len(left.Items) > 0 {
			return fmt.Errorf("%d pods, %v", len(left.Items), err)
		}
		_, err = all.Get(ctx, "web", metav1.GetOptions{})
		if err == nil {
			return fmt.Errorf("the deployment is there")
		}
		refused(metav1.StatusReasonNotFound, err)
		return nil
	})
}

// commands are exec over WebSocket and over SPDY, and the pod's log.
func commands(ctx context.Context, s *stage, pod string) {
	log := got(s.client.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{}).Stream(ctx))
	got(io.ReadAll(log))
	must(log.Close())

	request := s.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(s.namespace).Name(pod).SubResource("exec")
	options := corev1.PodExecOptions{Command: []string{"sh", "-c", "cat; echo err >&2; exit 3"}, Stdin: true, Stdout: true, Stderr: true}
	url := request.VersionedParams(&options, scheme.ParameterCodec).URL()
	websocket := got(remotecommand.NewWebSocketExecutor(s.config, http.MethodGet, url.String()))
	spdy := got(remotecommand.NewSPDYExecutor(s.config, http.MethodPost, url))
	for name, executor := range map[string]remotecommand.Executor{"websocket": websocket, "spdy": spdy} {
		var out, err bytes.Buffer
		said := strings.Repeat("hello\n", 20_000)
		ended := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(said), Stdout: &out, Stderr: &err})
		status, coded := ended.(interface{ ExitStatus() int })
		assert(coded && status.ExitStatus() == 3, "%s: %v", name, ended)
		assert(out.String() == said && err.String() == "err\n", "%s: %d bytes, %q", name, out.Len(), err.String())
	}
}

// applied is server-side apply by the generated configurations: owners, conflicts, and what is no longer said.
func applied(ctx context.Context, s *stage) {
	all := s.client.AppsV1().Deployments(s.namespace)
	labels := map[string]string{"app": "applied"}
	container := applycore.Container().WithName("web").WithImage(image).WithImagePullPolicy(corev1.PullIfNotPresent)
	wanted := func(replicas int32, env ...string) *apply.DeploymentApplyConfiguration {
		web := *container
		for _, name := range env {
			web.WithEnv(applycore.EnvVar().WithName(name).WithValue("1"))
		}
		template := applycore.PodTemplateSpec().WithLabels(labels).WithSpec(applycore.PodSpec().WithContainers(&web))
		return apply.Deployment("applied", s.namespace).WithSpec(apply.DeploymentSpec().WithReplicas(replicas).
			WithSelector(applymeta.LabelSelector().WithMatchLabels(labels)).WithTemplate(template))
	}
	one, two := metav1.ApplyOptions{FieldManager: "one"}, metav1.ApplyOptions{FieldManager: "two"}
	first := got(all.Apply(ctx, wanted(1, "A", "B"), one))
	again := got(all.Apply(ctx, wanted(1, "A", "B"), one))
	assert(first.Generation == again.Generation, "applied twice, changed once: %d and %d", first.Generation, again.Generation)
	_, err := all.Apply(ctx, wanted(3), two)
	refused(metav1.StatusReasonConflict, err)
	two.Force = true
	forced := got(all.Apply(ctx, wanted(3), two))
	assert(*forced.Spec.Replicas == 3, "forced: %v", forced.Spec)
	fewer := wanted(3, "A")
	fewer.Spec.Replicas = nil
	left := got(all.Apply(ctx, fewer, one))
	env := left.Spec.Template.Spec.Containers[0].Env
	assert(len(env) == 1 && env[0].Name == "A" && *left.Spec.Replicas == 3, "what one owns no longer: %v", left.Spec)

	// What a controller reads back of its own: the fields that it owns and no other.
	mine := got(apply.ExtractDeployment(left, "one"))
	assert(mine.Spec != nil && mine.Spec.Replicas == nil && len(mine.Spec.Template.Spec.Containers[0].Env) == 1, "extracted: %v", mine)
	owners := map[string]bool{}
	for _, entry := range left.ManagedFields {
		if entry.Operation == metav1.ManagedFieldsOperationApply {
			owners[entry.Manager] = true
		}
	}
	assert(maps.Equal(owners, map[string]bool{"one": true, "two": true}), "owners: %v", owners)
	must(all.Delete(ctx, "applied", metav1.DeleteOptions{}))
}
