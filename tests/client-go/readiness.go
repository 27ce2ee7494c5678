package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// readiness is what Flux, Argo CD and Helm 4 wait for: kstatus' reading of what is in the objects.
func readiness(ctx context.Context, s *stage) {
	all := dynamic.NewForConfigOrDie(s.config)
	labels := map[string]string{"app": "ready"}
	template := web("ready", 1).Spec.Template
	task := template.DeepCopy()
	task.Spec.RestartPolicy = corev1.RestartPolicyNever
	task.Spec.Containers[0].ReadinessProbe = nil
	task.Spec.Containers[0].Command = []string{"true"}
	failing := task.DeepCopy()
	failing.Spec.Containers[0].Command = []string{"false"}
	once, never := int32(1), int32(0)
	daemons := template.DeepCopy()
	daemons.Labels = map[string]string{"app": "daemons"}
	stateful := template.DeepCopy()
	stateful.Labels = map[string]string{"app": "stateful"}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

	wanted := map[status.Status][]runtime.Object{
		status.CurrentStatus: {
			&corev1.Service{ObjectMeta: named("ready"), Spec: corev1.ServiceSpec{
				Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
			}},
			&corev1.ConfigMap{ObjectMeta: named("ready")},
			web("ready", 2),
			&appsv1.StatefulSet{ObjectMeta: named("ready"), Spec: appsv1.StatefulSetSpec{
				Replicas: &once, ServiceName: "ready", Template: *stateful,
				Selector: &metav1.LabelSelector{MatchLabels: stateful.Labels},
			}},
			&appsv1.DaemonSet{ObjectMeta: named("ready"), Spec: appsv1.DaemonSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: daemons.Labels}, Template: *daemons,
			}},
			&appsv1.ReplicaSet{ObjectMeta: named("ready"), Spec: appsv1.ReplicaSetSpec{
				Replicas: &once, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "set"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "set"}}, Spec: template.Spec},
			}},
			&corev1.Pod{ObjectMeta: named("alone"), Spec: template.Spec},
			&batchv1.Job{ObjectMeta: named("ready"), Spec: batchv1.JobSpec{Template: *task}},
		},
		status.FailedStatus: {
			&batchv1.Job{ObjectMeta: named("failing"), Spec: batchv1.JobSpec{Template: *failing, BackoffLimit: &never}},
		},
	}
	for expected, objects := range wanted {
		for _, object := range objects {
			s.reaches(ctx, all, object, expected)
		}
	}
}

// reaches makes the object and reads it until kstatus says this of it.
func (s *stage) reaches(ctx context.Context, all dynamic.Interface, object runtime.Object, expected status.Status) {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	must(err)
	content := got(runtime.DefaultUnstructuredConverter.ToUnstructured(object))
	wanted := &unstructured.Unstructured{Object: content}
	wanted.SetGroupVersionKind(kinds[0])
	unstructured.RemoveNestedField(wanted.Object, "status")
	resource, _ := meta.UnsafeGuessKindToResource(kinds[0])
	client := all.Resource(resource).Namespace(s.namespace)
	got(client.Create(ctx, wanted, metav1.CreateOptions{}))
	eventually(ctx, kinds[0].Kind+" "+wanted.GetName(), func() error {
		read := got(client.Get(ctx, wanted.GetName(), metav1.GetOptions{}))
		computed := got(status.Compute(read))
		if computed.Status == expected {
			return nil
		}
		return fmt.Errorf("%s: %s", computed.Status, computed.Message)
	})
}
