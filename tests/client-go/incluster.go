package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// inside is the argument of this program in the pod that inCluster starts.
const inside = "inside-a-pod"

// inCluster has this very program run in a pod, and speak to the API with nothing but what pods are given.
func inCluster(ctx context.Context, s *stage) {
	if os.Geteuid() != 0 {
		fmt.Println("in-cluster: skipped: containers need root")
		return
	}
	robot := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}
	got(s.client.CoreV1().ServiceAccounts(s.namespace).Create(ctx, robot, metav1.CreateOptions{}))
	may := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "robots"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "robot", Namespace: s.namespace}},
	}
	got(s.client.RbacV1().RoleBindings(s.namespace).Create(ctx, may, metav1.CreateOptions{}))
	program := got(filepath.EvalSymlinks(got(os.Executable())))
	pods := s.client.CoreV1().Pods(s.namespace)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "inside"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "robot",
			// Only by the machine's network does a pod reach the API.
			HostNetwork:   true,
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "client", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command:      []string{"/program/" + filepath.Base(program), inside},
				VolumeMounts: []corev1.VolumeMount{{Name: "program", MountPath: "/program", ReadOnly: true}},
			}},
			Volumes: []corev1.Volume{{Name: "program", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: filepath.Dir(program)},
			}}},
		},
	}
	made := got(pods.Create(ctx, pod, metav1.CreateOptions{}))
	assert(len(made.Spec.Volumes) == 2 && len(made.Spec.Containers[0].VolumeMounts) == 2, "made: %v", made.Spec)
	eventually(ctx, "the pod is done", func() error {
		now := got(pods.Get(ctx, "inside", metav1.GetOptions{}))
		if now.Status.Phase == corev1.PodFailed {
			logs, err := pods.GetLogs("inside", &corev1.PodLogOptions{}).DoRaw(ctx)
			fail("the pod failed: %s %v", logs, err)
		}
		if now.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("it is %s: %v", now.Status.Phase, now.Status.ContainerStatuses)
		}
		return nil
	})
	logs := string(got(pods.GetLogs("inside", &corev1.PodLogOptions{}).DoRaw(ctx)))
	expected := fmt.Sprintf("system:serviceaccount:%s:robot in pod inside sees pods [inside]", s.namespace)
	assert(strings.Contains(logs, expected), "the pod said: %s", logs)
}

// fromInside is what the pod does.
func fromInside() {
	ctx, cancel := context.WithTimeout(context.Background(), limit/3)
	defer cancel()
	config := got(rest.InClusterConfig())
	namespace := string(got(os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")))
	client := kubernetes.NewForConfigOrDie(config)
	review := got(client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{}))
	user := review.Status.UserInfo
	var names []string
	for _, pod := range got(client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})).Items {
		names = append(names, pod.Name)
	}
	fmt.Printf("%s in pod %s sees pods %v at %s\n", user.Username,
		strings.Join(user.Extra["authentication.kubernetes.io/pod-name"], ","), names, time.Now().UTC().Format(time.RFC3339))
}
