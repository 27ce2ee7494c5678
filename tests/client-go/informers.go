package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
)

// caches are what controllers rest on: shared caches of several kinds, handlers, a queue, and events about what
// they did. KUBE_FEATURE_WatchListClient says whether the caches fill by lists or by watches alone.
func caches(ctx context.Context, s *stage) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	before := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "before"}}
	maps := s.client.CoreV1().ConfigMaps(s.namespace)
	got(maps.Create(ctx, &before, metav1.CreateOptions{}))

	factory := newFactory(s)
	configMaps := factory.Core().V1().ConfigMaps()
	pods := factory.Core().V1().Pods()
	deployments := factory.Apps().V1().Deployments()
	must(pods.Informer().AddIndexers(cache.Indexers{"node": func(object any) ([]string, error) {
		return []string{object.(*corev1.Pod).Spec.NodeName}, nil
	}}))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())
	seen := newCounts()
	got(configMaps.Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			seen.add(fmt.Sprintf("added %s initially %t", object.(*corev1.ConfigMap).Name, initial))
		},
		UpdateFunc: func(_, object any) { seen.add("updated " + object.(*corev1.ConfigMap).Name) },
		DeleteFunc: func(object any) { seen.add("deleted " + object.(*corev1.ConfigMap).Name) },
	}))
	got(deployments.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { queue.Add(got(cache.MetaNamespaceKeyFunc(object))) },
		UpdateFunc: func(_, object any) { queue.Add(got(cache.MetaNamespaceKeyFunc(object))) },
	}))
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		assert(synced, "%v is not synced", kind)
	}
	eventually(ctx, "what was there before", func() error { return seen.exactly("added before initially true", 1) })

	after := before.DeepCopy()
	after.Name = "after"
	got(maps.Create(ctx, after, metav1.CreateOptions{}))
	after.Data = map[string]string{"a": "1"}
	got(maps.Update(ctx, after, metav1.UpdateOptions{}))
	must(maps.Delete(ctx, "after", metav1.DeleteOptions{}))
	eventually(ctx, "what came after", func() error { return seen.exactly("deleted after", 1) })
	must(seen.exactly("added after initially false", 1))
	must(seen.exactly("updated after", 1))

	// A controller at work: it takes keys from its queue until its Deployment is as wished.
	got(s.client.AppsV1().Deployments(s.namespace).Create(ctx, web("web", 2), metav1.CreateOptions{}))
	for {
		key, _ := queue.Get()
		namespace, name, err := cache.SplitMetaNamespaceKey(key)
		must(err)
		deployment := got(deployments.Lister().Deployments(namespace).Get(name))
		queue.Forget(key)
		queue.Done(key)
		if rolledOut(deployment, 2) == nil {
			break
		}
	}
	queue.ShutDown()
	eventually(ctx, "both pods by their nodes", func() error {
		found := 0
		for _, pod := range got(pods.Lister().Pods(s.namespace).List(labels.Everything())) {
			on := got(pods.Informer().GetIndexer().ByIndex("node", pod.Spec.NodeName))
			if pod.Spec.NodeName != "" && len(on) > 0 {
				found++
			}
		}
		if found != 2 {
			return fmt.Errorf("%d pods", found)
		}
		return nil
	})
	recorded(ctx, s)
	stop()
	factory.Shutdown()
}

func newFactory(s *stage) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(s.client, 10*time.Minute, informers.WithNamespace(s.namespace))
}

// recorded are events as client-go's recorder writes them: the same one again is a patch that counts.
func recorded(ctx context.Context, s *stage) {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: s.client.CoreV1().Events(s.namespace)})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "driver"})
	about := got(s.client.CoreV1().ConfigMaps(s.namespace).Get(ctx, "before", metav1.GetOptions{}))
	for range 3 {
		recorder.Event(about, corev1.EventTypeNormal, "Sailed", "it sails")
	}
	eventually(ctx, "an event that counts to three", func() error {
		events := got(s.client.CoreV1().Events(s.namespace).Search(scheme.Scheme, about))
		if len(events.Items) != 1 || events.Items[0].Count != 3 {
			return fmt.Errorf("%v", events.Items)
		}
		return nil
	})
}

// counts is how often each thing was seen.
type counts struct {
	lock sync.Mutex
	of   map[string]int
}

func newCounts() *counts { return &counts{of: map[string]int{}} }

func (c *counts) add(what string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.of[what]++
}

func (c *counts) exactly(what string, times int) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.of[what] != times {
		return fmt.Errorf("%s: not %d times; seen: %v", what, times, c.of)
	}
	return nil
}
