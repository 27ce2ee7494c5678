package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// election has candidates for one Lease through a failover of the cluster's own leader: never are there two holders.
func election(ctx context.Context, s *stage) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	office := &office{}
	leader := ask("leader")
	one := office.run(ctx, s, "one", leader, false)
	eventually(ctx, "one holds", office.is("one"))
	two := office.run(ctx, s, "two", "", true)

	// The controller that the holder speaks with dies: the holder renews through another one, and goes on.
	before := got(lease(ctx, s))
	ask("kill the leader")
	eventually(ctx, "the lease is renewed after the failover", func() error {
		now, err := lease(ctx, s)
		if err != nil {
			return err
		}
		assert(*now.HolderIdentity == "one", "held by %s", *now.HolderIdentity)
		if !now.RenewTime.After(before.RenewTime.Time) {
			return fmt.Errorf("last renewed %v", now.RenewTime)
		}
		return office.is("one")()
	})
	ask("start what is missing")

	// The leader dies once more, and the holder is cut off: it lets go before another one takes over.
	ask("kill the leader")
	one.cut.Store(true)
	eventually(ctx, "two takes over", office.is("two"))
	after := got(lease(ctx, s))
	assert(*after.LeaseTransitions == *before.LeaseTransitions+1, "hands changed: %v, then %v", before, after)
	one.cut.Store(false)

	// Who leaves in order hands over at once, and not when the lease has run out.
	two.leave()
	<-two.gone
	again := office.run(ctx, s, "three", "", true)
	eventually(ctx, "another one holds", func() error {
		if office.is("one")() == nil {
			return nil
		}
		return office.is("three")()
	})
	again.leave()
	one.leave()
	<-again.gone
	<-one.gone
	assert(!office.broken.Load(), "two held the lease at once")
	ask("start what is missing")
}

// office counts who holds the lease, by what the candidates themselves believe.
type office struct {
	holders atomic.Int32
	broken  atomic.Bool
	holder  atomic.Value
}

type candidate struct {
	cut   atomic.Bool
	leave context.CancelFunc
	gone  chan bool
}

func (o *office) is(name string) func() error {
	return func() error {
		if holder := o.holder.Load(); holder != name {
			return fmt.Errorf("the holder is %v", holder)
		}
		return nil
	}
}

// run starts a candidate. One that releases would, when it is cut off, try so for as long as to renew before it lets go.
func (o *office) run(ctx context.Context, s *stage, name, address string, release bool) *candidate {
	ctx, leave := context.WithCancel(ctx)
	c := &candidate{leave: leave, gone: make(chan bool)}
	client := kubernetes.NewForConfigOrDie(c.cutOff(first(s.config, address)))
	elector := got(leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: name,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: s.namespace, Name: "office"},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		},
		LeaseDuration: 8 * time.Second, RenewDeadline: 5 * time.Second, RetryPeriod: time.Second,
		ReleaseOnCancel: release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				if o.holders.Add(1) > 1 {
					o.broken.Store(true)
				}
				o.holder.Store(name)
				<-leading.Done()
				o.holder.CompareAndSwap(name, "")
				o.holders.Add(-1)
			},
			OnStoppedLeading: func() {},
		},
	}))
	go func() {
		// A process would be started anew.
		for ctx.Err() == nil {
			elector.Run(ctx)
		}
		close(c.gone)
	}()
	return c
}

// cutOff has connections that break, and none that begin, while the candidate is cut off.
func (c *candidate) cutOff(config *rest.Config) *rest.Config {
	dial := config.Dial
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if c.cut.Load() {
			return nil, errors.New("cut off")
		}
		connection, err := dial(ctx, network, address)
		return &cable{connection, &c.cut}, err
	}
	return config
}

// cable is a connection that loses all that is sent while it is cut.
type cable struct {
	net.Conn
	cut *atomic.Bool
}

func (c *cable) Write(bytes []byte) (int, error) {
	if c.cut.Load() {
		return len(bytes), nil
	}
	return c.Conn.Write(bytes)
}

func lease(ctx context.Context, s *stage) (*coordinationv1.LeaseSpec, error) {
	lease, err := s.client.CoordinationV1().Leases(s.namespace).Get(ctx, "office", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return &lease.Spec, nil
}
