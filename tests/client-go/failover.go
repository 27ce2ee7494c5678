package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
)

const written = 200

// failover kills the leader under watches and a writer. Whoever resumes a watch where it broke is told all that
// happened, once and in order; whoever keeps a cache has in the end what is there.
func failover(ctx context.Context, s *stage) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	start := got(s.client.CoreV1().ConfigMaps(s.namespace).List(ctx, metav1.ListOptions{})).ResourceVersion
	// One through the leader, which will break, and some wherever the shared address leads them.
	clients := []*kubernetes.Clientset{clientOf(first(s.config, ask("leader")))}
	for range 3 {
		clients = append(clients, clientOf(first(s.config, "")))
	}
	var stories []chan []string
	for _, client := range clients {
		stories = append(stories, follow(ctx, client, s.namespace, start))
	}
	factory := newFactory(&stage{client: clients[0], namespace: s.namespace})
	cached := factory.Core().V1().ConfigMaps().Lister()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	half, killed := make(chan bool), make(chan bool)
	go func() {
		<-half
		ask("kill the leader")
		close(killed)
	}()
	var told []string
	for number := range written {
		if number == written/2 {
			close(half)
		}
		told = append(told, write(ctx, s, number)...)
	}
	<-killed
	for at, story := range stories {
		heard := <-story
		assert(slices.Equal(heard, told), "watch %d was told %d of %d: %v", at, len(heard), len(told), heard)
	}
	eventually(ctx, "the cache has what is there", func() error {
		there := got(s.client.CoreV1().ConfigMaps(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: "number"}))
		known := got(cached.ConfigMaps(s.namespace).List(got(labels.Parse("number"))))
		versions := map[string]string{}
		for _, object := range known {
			versions[object.Name] = object.ResourceVersion
		}
		for _, object := range there.Items {
			if versions[object.Name] != object.ResourceVersion {
				return fmt.Errorf("%s is at %s and not %s", object.Name, versions[object.Name], object.ResourceVersion)
			}
		}
		if len(known) != len(there.Items) {
			return fmt.Errorf("%d and not %d", len(known), len(there.Items))
		}
		return nil
	})
	ask("start what is missing")
}

// write makes, changes and, every third time, deletes an object, and says what watches must be told. What is not
// answered is tried again: the leader may have died after it was done.
func write(ctx context.Context, s *stage, number int) []string {
	maps := s.client.CoreV1().ConfigMaps(s.namespace)
	name := fmt.Sprintf("n-%d", number)
	wanted := corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"number": strconv.Itoa(number)}},
		Data:       map[string]string{"v": "1"},
	}
	told := []string{"ADDED " + name + " 1", "MODIFIED " + name + " 2"}
	insist(ctx, "create "+name, func() error {
		_, err := maps.Create(ctx, &wanted, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	insist(ctx, "change "+name, func() error {
		read, err := maps.Get(ctx, name, metav1.GetOptions{})
		if err != nil || read.Data["v"] == "2" {
			return err
		}
		read.Data["v"] = "2"
		_, err = maps.Update(ctx, read, metav1.UpdateOptions{})
		return err
	})
	if number%3 != 0 {
		return told
	}
	insist(ctx, "delete "+name, func() error {
		err := maps.Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	return append(told, "DELETED "+name+" 2")
}

// insist tries again after errors that say nothing about the request itself.
func insist(ctx context.Context, what string, try func() error) {
	eventually(ctx, what, func() error {
		err := try()
		if status, answered := err.(apierrors.APIStatus); answered {
			code := status.Status().Code
			assert(code >= 500 || code == 429 || code == 409, "%s: %v", what, err)
		}
		return err
	})
}

// follow resumes a watch wherever it breaks, without ever listing anew, and gives all that it was told.
func follow(ctx context.Context, client *kubernetes.Clientset, namespace, start string) chan []string {
	maps := client.CoreV1().ConfigMaps(namespace)
	source := &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) { return maps.List(ctx, options) },
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = "number"
			return maps.Watch(ctx, options)
		},
	}
	events := got(toolswatch.NewRetryWatcherWithContext(ctx, start, source))
	story := make(chan []string, 1)
	last := fmt.Sprintf("n-%d", written-1)
	go func() {
		var told []string
		for event := range events.ResultChan() {
			object, is := event.Object.(*corev1.ConfigMap)
			if !is {
				told = append(told, fmt.Sprintf("%s %v", event.Type, event.Object))
				break
			}
			told = append(told, fmt.Sprintf("%s %s %s", event.Type, object.Name, object.Data["v"]))
			if object.Name == last && event.Type == watch.Modified {
				break
			}
		}
		events.Stop()
		story <- told
	}()
	return story
}

// first has a client of its own connections, which go to this controller while it answers.
func first(config *rest.Config, address string) *rest.Config {
	config = rest.CopyConfig(config)
	config.Dial = func(ctx context.Context, network, shared string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: time.Second}
		if address != "" {
			if connection, err := dialer.DialContext(ctx, network, address); err == nil {
				return connection, nil
			}
		}
		return dialer.DialContext(ctx, network, shared)
	}
	return config
}

func clientOf(config *rest.Config) *kubernetes.Clientset {
	return kubernetes.NewForConfigOrDie(config)
}
