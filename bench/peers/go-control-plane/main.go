// go-control-plane as a peer: its snapshot cache and its ADS server, with nothing of ours but the trigger.
//
//	gcp -n 1000                       # one RouteConfiguration, as its own examples have it
//	gcp -n 1000 -scopes 16            # the same routes in scopes with their tables inline: the layout of the stub and of Chancery
//	curl -X PUT 'http://127.0.0.1:18080/route/42?rev=r1'     # 200 after the snapshot is set
//	curl -X DELETE 'http://127.0.0.1:18080/route/42'
//
// Route i is /svc<i>, and its answers carry x-route: r<i>-<rev>. Delta or state of the world: as Envoy's bootstrap asks.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	lua "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

var (
	n        = flag.Int("n", 10, "routes")
	scopes   = flag.Int("scopes", 0, "how many scopes the routes are spread over; 0 is one RouteConfiguration")
	xds      = flag.String("xds", "127.0.0.1:18000", "ADS address")
	admin    = flag.String("admin", "127.0.0.1:18080", "trigger address")
	listen   = flag.Int("listen", 10080, "Envoy's data port")
	upstream = flag.Int("upstream", 29000, "port of the service behind the routes")
	clusters = flag.Bool("clusters", false, "a cluster for each route")
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func asAny(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	must(err)
	return a
}

func address(p int) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(p)}}}}
}

func newCluster(name string) *cluster.Cluster {
	end := &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address(*upstream)}}}
	return &cluster.Cluster{Name: name, ConnectTimeout: durationpb.New(time.Second), ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		LoadAssignment: &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{end}}}}}
}

func clusterOf(i int) string {
	if *clusters {
		return fmt.Sprintf("c%d", i)
	}
	return "backend"
}

func newRoute(i int, rev string) *route.Route {
	return &route.Route{
		Match:                &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: fmt.Sprintf("/svc%d/", i)}},
		Action:               &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_Cluster{Cluster: clusterOf(i)}}},
		ResponseHeadersToAdd: []*core.HeaderValueOption{{Header: &core.HeaderValue{Key: "x-route", Value: fmt.Sprintf("r%d-%s", i, rev)}}}}
}

// table is what the snapshots are made of: the routes of each shard in the order in which they came.
type table struct {
	shards [][]int
	routes map[int]*route.Route
	extra  map[int]*cluster.Cluster
}

func hash(s string) uint32 {
	h := uint32(5381)
	for i := 0; i < len(s); i++ {
		h = h*33 + uint32(s[i])
	}
	return h
}

func (t *table) shardOf(i int) int { return int(hash(fmt.Sprintf("svc%d", i)) % uint32(len(t.shards))) }

func (t *table) put(i int, rev string) {
	if t.routes[i] == nil {
		k := t.shardOf(i)
		t.shards[k] = append(t.shards[k], i)
		if *clusters {
			t.extra[i] = newCluster(clusterOf(i))
		}
	}
	t.routes[i] = newRoute(i, rev)
}

func (t *table) remove(i int) {
	k := t.shardOf(i)
	for at, each := range t.shards[k] {
		if each == i {
			t.shards[k] = append(t.shards[k][:at:at], t.shards[k][at+1:]...)
			break
		}
	}
	delete(t.routes, i)
	delete(t.extra, i)
}

func (t *table) resources() map[resource.Type][]types.Resource {
	cs := []types.Resource{newCluster("backend")}
	for _, c := range t.extra {
		cs = append(cs, c)
	}
	tables := make([]types.Resource, 0, len(t.shards))
	for k, shard := range t.shards {
		rs := make([]*route.Route, 0, len(shard))
		for _, i := range shard {
			rs = append(rs, t.routes[i])
		}
		rc := &route.RouteConfiguration{Name: "local", VirtualHosts: []*route.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: rs}}}
		if *scopes == 0 {
			tables = append(tables, rc)
			continue
		}
		rc.Name = fmt.Sprintf("rc%d", k)
		key := &route.ScopedRouteConfiguration_Key_Fragment{Type: &route.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: fmt.Sprint(k)}}
		tables = append(tables, &route.ScopedRouteConfiguration{Name: fmt.Sprintf("s%d", k), RouteConfiguration: rc,
			Key: &route.ScopedRouteConfiguration_Key{Fragments: []*route.ScopedRouteConfiguration_Key_Fragment{key}}})
	}
	kind := resource.RouteType
	if *scopes > 0 {
		kind = resource.ScopedRouteType
	}
	return map[resource.Type][]types.Resource{resource.ClusterType: cs, kind: tables, resource.ListenerType: {newListener()}}
}

func newListener() *listener.Listener {
	ads := &core.ConfigSource{ResourceApiVersion: core.ApiVersion_V3, ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
	h := &hcm.HttpConnectionManager{StatPrefix: "h", RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: "local", ConfigSource: ads}}}
	if *scopes > 0 {
		fragment := &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{Type: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
			HeaderValueExtractor: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{Name: "x-shard",
				ExtractType: &hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0}}}}
		h.RouteSpecifier = &hcm.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcm.ScopedRoutes{Name: "scopes", RdsConfigSource: ads,
			ScopeKeyBuilder: &hcm.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcm.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{fragment}},
			ConfigSpecifier: &hcm.ScopedRoutes_ScopedRds{ScopedRds: &hcm.ScopedRds{ScopedRdsConfigSource: ads}}}}
		script := fmt.Sprintf(`function envoy_on_request(h)
  local hs = h:headers()
  local s = string.match(hs:get(":path"), "^/([^/?]*)")
  local x = 5381
  for i = 1, #s do x = (x * 33 + string.byte(s, i)) %% 4294967296 end
  hs:replace("x-shard", tostring(x %% %d))
end`, *scopes)
		source := &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: script}}
		h.HttpFilters = append(h.HttpFilters, &hcm.HttpFilter{Name: "shard", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: asAny(&lua.Lua{DefaultSourceCode: source})}})
	}
	h.HttpFilters = append(h.HttpFilters, &hcm.HttpFilter{Name: "router", ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: asAny(&router.Router{})}})
	filter := &listener.Filter{Name: "hcm", ConfigType: &listener.Filter_TypedConfig{TypedConfig: asAny(h)}}
	return &listener.Listener{Name: "l", Address: address(*listen), FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{filter}}}}
}

// fleet gives every node the same snapshot, which the cache then holds, and compares, once.
type fleet struct{}

func (fleet) ID(*core.Node) string { return "fleet" }

func main() {
	flag.Parse()
	ctx := context.Background()
	sc := cache.NewSnapshotCache(true, fleet{}, nil)
	var mu sync.Mutex
	t := &table{shards: make([][]int, max(1, *scopes)), routes: map[int]*route.Route{}, extra: map[int]*cluster.Cluster{}}
	for i := 0; i < *n; i++ {
		t.put(i, "v0")
	}
	version := 0
	publish := func() {
		version++
		s, err := cache.NewSnapshot(fmt.Sprint(version), t.resources())
		must(err)
		must(sc.SetSnapshot(ctx, "fleet", s))
	}
	publish()
	g := grpc.NewServer(grpc.MaxConcurrentStreams(10000))
	discovery.RegisterAggregatedDiscoveryServiceServer(g, server.NewServer(ctx, sc, nil))
	lis, err := net.Listen("tcp", *xds)
	must(err)
	go g.Serve(lis)
	http.HandleFunc("/route/{i}", func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.PathValue("i"))
		if err != nil {
			http.Error(w, "no such route", 404)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if r.Method == "DELETE" {
			t.remove(i)
		} else {
			t.put(i, r.FormValue("rev"))
		}
		publish()
		fmt.Fprintf(w, "%d", version)
	})
	trigger, err := net.Listen("tcp", *admin)
	must(err)
	fmt.Println("ready", *n, "routes")
	must(http.Serve(trigger, nil))
}
