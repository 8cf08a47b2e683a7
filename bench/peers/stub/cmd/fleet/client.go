package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	ads "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	status "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"xdsstub/xds"
)

const ECDS = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"

type kind int

const (
	good kind = iota
	slowly
	refuses
	mute
)

// watch is one change that is waited for.
type watch struct {
	needle []byte
	began  time.Time
	good   chan struct{}
	mu     sync.Mutex
	times  [4][]float64
}

type fleet struct {
	clients  []*client
	watch    atomic.Pointer[watch]
	lastCame atomic.Int64
	bytesIn  atomic.Int64
	dials    atomic.Int64
	nacks    atomic.Int64
}

// client is one Envoy, as far as its ADS stream shows it.
type client struct {
	fleet       *fleet
	id, token   string
	kind        kind
	holdsRoutes atomic.Bool
	streaming   atomic.Bool
	frozen      atomic.Bool
	seen        *watch // the last watch that this client has fulfilled
	held        map[string]map[string]string
	asked       map[string]map[string]bool // on this stream
	wants       map[string]map[string]bool // on any: an Envoy that has a listener goes on asking for its routes
}

func newFleet(n int, nodes [][2]string) *fleet {
	f := &fleet{}
	for i := 0; i < n; i++ {
		c := &client{fleet: f, id: fmt.Sprintf("n%d", i+1), held: map[string]map[string]string{}, wants: map[string]map[string]bool{}}
		if i < len(nodes) {
			c.id, c.token = nodes[i][0], nodes[i][1]
		}
		f.clients = append(f.clients, c)
	}
	// The others are spread over the fleet, so that they are not the first or the last to be served.
	order, at := rand.New(rand.NewPCG(1, 2)).Perm(n), 0
	for _, share := range []struct {
		part float64
		kind kind
	}{{*slow, slowly}, {*refusing, refuses}, {*halfOpen, mute}} {
		for k := int(share.part*float64(n) + 0.5); k > 0; k-- {
			f.clients[order[at]].kind = share.kind
			at++
		}
	}
	return f
}

func (f *fleet) of(k kind) (n int) {
	for _, c := range f.clients {
		if c.kind == k {
			n++
		}
	}
	return
}

func (f *fleet) counts() map[string]any {
	streams, holding := 0, 0
	for _, c := range f.clients {
		if c.streaming.Load() {
			streams++
		}
		if c.holdsRoutes.Load() {
			holding++
		}
	}
	return map[string]any{"clients": len(f.clients), "good": f.of(good), "slow": f.of(slowly), "refusing": f.of(refuses), "halfOpen": f.of(mute),
		"streams": streams, "holding": holding, "dials": f.dials.Load(), "bytesIn": f.bytesIn.Load(), "nacks": f.nacks.Load()}
}

// gate is a connection that can go mute: nothing is read any more, and what is written is lost, while the socket stays open.
type gate struct {
	net.Conn
	c *client
}

func (g gate) Read(b []byte) (int, error) {
	if g.c.frozen.Load() {
		select {}
	}
	n, err := g.Conn.Read(b)
	g.c.fleet.bytesIn.Add(int64(n))
	return n, err
}

func (g gate) Write(b []byte) (int, error) {
	if g.c.frozen.Load() {
		return len(b), nil
	}
	return g.Conn.Write(b)
}

func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		c.connect(ctx)
		c.streaming.Store(false)
		time.Sleep(500*time.Millisecond + time.Duration(rand.IntN(500))*time.Millisecond) // as Envoy's first retry
	}
}

func (c *client) connect(ctx context.Context) {
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		c.fleet.dials.Add(1)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		return gate{conn, c}, err
	}
	conn, err := grpc.NewClient("passthrough:///"+*xdsAddr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)), grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10))
	if err != nil {
		return
	}
	defer conn.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	stream, err := ads.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return
	}
	c.asked = map[string]map[string]bool{}
	for _, t := range []string{xds.CDS, xds.LDS} {
		if c.subscribe(stream, t, nil) != nil {
			return
		}
	}
	for _, t := range []string{xds.EDS, xds.SRDS, xds.RDS, ECDS} {
		if c.wants[t] != nil && c.resume(stream, t) != nil {
			return
		}
	}
	c.streaming.Store(true)
	for {
		if c.kind == slowly && c.holdsRoutes.Load() {
			time.Sleep(*pace)
		}
		r, err := stream.Recv()
		if err != nil || c.take(stream, r) != nil {
			return
		}
	}
}

type stream = ads.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// resume asks again for what was asked for before the stream broke, whether it had come by then or not.
func (c *client) resume(s stream, t string) error {
	if t == xds.SRDS {
		return c.subscribe(s, t, nil)
	}
	var names []string
	for name := range c.wants[t] {
		names = append(names, name)
	}
	return c.subscribe(s, t, names)
}

// subscribe asks for names (nil: all of the type) that were not asked for on this stream yet.
func (c *client) subscribe(s stream, t string, names []string) error {
	first := c.asked[t] == nil
	if first {
		c.asked[t] = map[string]bool{}
	}
	if c.wants[t] == nil {
		c.wants[t] = map[string]bool{}
	}
	var fresh []string
	for _, name := range names {
		c.wants[t][name] = true
		if !c.asked[t][name] {
			c.asked[t][name] = true
			fresh = append(fresh, name)
		}
	}
	if !first && len(fresh) == 0 {
		return nil
	}
	rq := &ads.DeltaDiscoveryRequest{TypeUrl: t, ResourceNamesSubscribe: fresh}
	if first {
		rq.InitialResourceVersions = c.held[t]
		rq.Node = &core.Node{Id: c.id, Cluster: *group, UserAgentName: "envoy"}
	}
	return s.Send(rq)
}

func (c *client) take(s stream, r *ads.DeltaDiscoveryResponse) error {
	c.fleet.lastCame.Store(time.Now().UnixNano())
	ack := &ads.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce}
	if c.kind == refuses && c.holdsRoutes.Load() {
		ack.ErrorDetail = &status.Status{Code: 3, Message: "refused by the bench"}
		c.fleet.nacks.Add(1)
		return s.Send(ack)
	}
	if c.held[r.TypeUrl] == nil {
		c.held[r.TypeUrl] = map[string]string{}
	}
	for _, x := range r.Resources {
		c.held[r.TypeUrl][x.Name] = x.Version
	}
	for _, name := range r.RemovedResources {
		delete(c.held[r.TypeUrl], name)
		if r.TypeUrl == xds.CDS {
			delete(c.wants[xds.EDS], name)
		}
	}
	if err := s.Send(ack); err != nil {
		return err
	}
	if r.TypeUrl == xds.RDS || r.TypeUrl == xds.SRDS {
		c.routesCame(r)
	}
	return c.follow(s, r)
}

// routesCame notes that the client holds routes, and whether they are those that are waited for.
func (c *client) routesCame(r *ads.DeltaDiscoveryResponse) {
	c.holdsRoutes.Store(true)
	if c.kind == mute {
		c.frozen.Store(true)
	}
	w := c.fleet.watch.Load()
	if w == nil || c.seen == w {
		return
	}
	for _, x := range r.Resources {
		if !bytes.Contains(x.Resource.GetValue(), w.needle) {
			continue
		}
		c.seen = w
		w.mu.Lock()
		w.times[c.kind] = append(w.times[c.kind], ms(time.Since(w.began)))
		w.mu.Unlock()
		if c.kind == good {
			w.good <- struct{}{}
		}
		return
	}
}

// follow asks for what the resources name.
func (c *client) follow(s stream, r *ads.DeltaDiscoveryResponse) error {
	for _, x := range r.Resources {
		switch r.TypeUrl {
		case xds.CDS:
			var m cluster.Cluster
			if proto.Unmarshal(x.Resource.Value, &m) == nil && m.GetType() == cluster.Cluster_EDS {
				name := m.GetEdsClusterConfig().GetServiceName()
				if name == "" {
					name = m.Name
				}
				if err := c.subscribe(s, xds.EDS, []string{name}); err != nil {
					return err
				}
			}
		case xds.LDS:
			if err := c.followListener(s, x.Resource.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) followListener(s stream, value []byte) error {
	var l listener.Listener
	if err := proto.Unmarshal(value, &l); err != nil {
		return err
	}
	for _, chain := range append(l.FilterChains, l.DefaultFilterChain) {
		for _, filter := range chain.GetFilters() {
			var h hcm.HttpConnectionManager
			if proto.Unmarshal(filter.GetTypedConfig().GetValue(), &h) != nil {
				continue
			}
			for _, f := range h.HttpFilters {
				if f.GetConfigDiscovery() != nil {
					if err := c.subscribe(s, ECDS, []string{f.Name}); err != nil {
						return err
					}
				}
			}
			if name := h.GetRds().GetRouteConfigName(); name != "" {
				if err := c.subscribe(s, xds.RDS, []string{name}); err != nil {
					return err
				}
			}
			if h.GetScopedRoutes() != nil {
				if err := c.subscribe(s, xds.SRDS, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
