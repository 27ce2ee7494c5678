package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const protobufMedia = "application/vnd.kubernetes.protobuf"

// media notes how the last answer was written.
type media struct {
	http.RoundTripper
	lock sync.Mutex
	last string
}

func (m *media) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := m.RoundTripper.RoundTrip(request)
	if err == nil {
		m.lock.Lock()
		defer m.lock.Unlock()
		m.last = response.Header.Get("Content-Type")
	}
	return response, err
}

func (m *media) was(wanted string) {
	m.lock.Lock()
	defer m.lock.Unlock()
	assert(strings.HasPrefix(m.last, wanted), "an answer is %q and not %q", m.last, wanted)
}

// speaking is a clientset that asks for one form.
func speaking(config *rest.Config, form string) (*kubernetes.Clientset, *media) {
	noted := &media{}
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = form, form
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		noted.RoundTripper = next
		return noted
	})
	return kubernetes.NewForConfigOrDie(config), noted
}

// protobuf reads all that is there in both forms: what client-go makes of them is the same.
func protobuf(ctx context.Context, s *stage) {
	binary, asBinary := speaking(s.config, protobufMedia)
	text, asText := speaking(s.config, runtime.ContentTypeJSON)
	maps := binary.CoreV1().ConfigMaps(s.namespace)
	wanted := corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "both", Labels: map[string]string{"a": "", "b": "v"}},
		Data:       map[string]string{"z": "", "a": "ö\n"}, BinaryData: map[string][]byte{"x": {0, 255}, "y": {}},
	}
	made := got(maps.Create(ctx, &wanted, metav1.CreateOptions{}))
	asBinary.was(protobufMedia)
	assert(reflect.DeepEqual(made.Data, wanted.Data) && made.Labels["b"] == "v", "made: %v", made)
	asJSON := got(text.CoreV1().ConfigMaps(s.namespace).Get(ctx, "both", metav1.GetOptions{}))
	asText.was(runtime.ContentTypeJSON)
	assert(made.UID == asJSON.UID && made.CreationTimestamp.Equal(&asJSON.CreationTimestamp), "%v and %v", made, asJSON)
	assert(reflect.DeepEqual(made.ManagedFields, asJSON.ManagedFields), "%v and %v", made.ManagedFields, asJSON.ManagedFields)
	_, err := maps.Create(ctx, &wanted, metav1.CreateOptions{})
	refused(metav1.StatusReasonAlreadyExists, err)
	asBinary.was(protobufMedia)
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "No_Good"}}, metav1.CreateOptions{})
	assert(apierrors.IsInvalid(err) && strings.Contains(err.Error(), "metadata.name"), "refused: %v", err)

	got(binary.AppsV1().Deployments(s.namespace).Create(ctx, web("both", 2), metav1.CreateOptions{}))
	all := metav1.ListOptions{}
	for kind, list := range map[string]func(*kubernetes.Clientset) (runtime.Object, error){
		"cluster roles": func(c *kubernetes.Clientset) (runtime.Object, error) { return c.RbacV1().ClusterRoles().List(ctx, all) },
		"config maps":   func(c *kubernetes.Clientset) (runtime.Object, error) { return c.CoreV1().ConfigMaps("").List(ctx, all) },
		"controllers": func(c *kubernetes.Clientset) (runtime.Object, error) {
			return c.AppsV1().ReplicaSets("").List(ctx, all)
		},
		"deployments": func(c *kubernetes.Clientset) (runtime.Object, error) {
			return c.AppsV1().Deployments("").List(ctx, all)
		},
		"events":            func(c *kubernetes.Clientset) (runtime.Object, error) { return c.CoreV1().Events("").List(ctx, all) },
		"events, as of now": func(c *kubernetes.Clientset) (runtime.Object, error) { return c.EventsV1().Events("").List(ctx, all) },
		"flow schemas": func(c *kubernetes.Clientset) (runtime.Object, error) {
			return c.FlowcontrolV1().FlowSchemas().List(ctx, all)
		},
		"namespaces": func(c *kubernetes.Clientset) (runtime.Object, error) { return c.CoreV1().Namespaces().List(ctx, all) },
		"nodes":      func(c *kubernetes.Clientset) (runtime.Object, error) { return c.CoreV1().Nodes().List(ctx, all) },
		"pods":       func(c *kubernetes.Clientset) (runtime.Object, error) { return c.CoreV1().Pods("").List(ctx, all) },
		"priorities": func(c *kubernetes.Clientset) (runtime.Object, error) {
			return c.SchedulingV1().PriorityClasses().List(ctx, all)
		},
		"service accounts": func(c *kubernetes.Clientset) (runtime.Object, error) {
			return c.CoreV1().ServiceAccounts("").List(ctx, all)
		},
		"services": func(c *kubernetes.Clientset) (runtime.Object, error) { return c.CoreV1().Services("").List(ctx, all) },
	} {
		// Objects change meanwhile: they are to be the same at some time.
		eventually(ctx, kind+" in both forms", func() error {
			one := plain(got(list(binary)))
			asBinary.was(protobufMedia)
			other := plain(got(list(text)))
			asText.was(runtime.ContentTypeJSON)
			if !equality.Semantic.DeepEqual(one, other) {
				return fmt.Errorf("%v and %v", one, other)
			}
			return nil
		})
	}

	watching := got(maps.Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion}))
	defer watching.Stop()
	asBinary.was(protobufMedia + ";stream=watch")
	must(maps.Delete(ctx, "both", metav1.DeleteOptions{}))
	asBinary.was(protobufMedia)
	event := <-watching.ResultChan()
	assert(event.Type == watch.Deleted && event.Object.(*corev1.ConfigMap).UID == made.UID, "event: %v", event)
}

// plain leaves out what only JSON says of the items of a list.
func plain(list runtime.Object) runtime.Object {
	must(meta.EachListItem(list, func(item runtime.Object) error {
		item.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return nil
	}))
	list.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return list
}
