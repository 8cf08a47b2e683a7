package xds

import (
	"fmt"
	"hash/fnv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	xcore "github.com/cncf/xds/go/xds/core/v3"
	xmatch "github.com/cncf/xds/go/xds/type/matcher/v3"
	htype "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Table renders N prefix routes into one of the layouts and re-renders only the shard a change touches.
//
//	list       1 RouteConfiguration, 1 vhost "*", N routes in order
//	tree       same, VirtualHost.matcher with a prefix_match_map on :path
//	vhosts     1 RouteConfiguration, `Shards` vhosts (h<k>.test), N/Shards routes each
//	srds-host  SRDS on :authority, one RouteConfiguration per host
//	srds-path  SRDS on the first path segment (/g<k>/...), one RouteConfiguration per segment
//	srds-hash  SRDS on header x-shard = hash(first path segment) mod Shards (set by a Lua filter)
//
// A "+tree" suffix on an srds layout uses a matcher tree inside each shard.
type Table struct {
	Layout  string
	Tree    bool
	N       int
	Shards  int
	Cluster string

	routes [][][]byte     // shard -> encoded route (or match-map entry)
	owners [][]int        // shard -> which route each of them is
	where  map[int][2]int // route -> shard, position
	vhosts [][]byte       // encoded VirtualHost per shard (layout vhosts)
}

func NewTable(layout string, n, shards int, cluster string) *Table {
	t := &Table{Layout: layout, N: n, Shards: shards, Cluster: cluster}
	if l := len(layout); l > 5 && layout[l-5:] == "+tree" {
		t.Layout, t.Tree = layout[:l-5], true
	}
	if layout == "tree" {
		t.Tree = true
	}
	if t.Layout == "list" || t.Layout == "tree" {
		t.Shards = 1
	}
	t.routes = make([][][]byte, t.Shards)
	t.owners = make([][]int, t.Shards)
	t.where = make(map[int][2]int, n)
	for i := 0; i < n; i++ {
		t.put(i, "v0")
	}
	if t.Layout == "vhosts" {
		t.vhosts = make([][]byte, t.Shards)
		for k := range t.vhosts {
			t.vhosts[k] = t.vhost(k)
		}
	}
	return t
}

// put sets a route, the last of its shard when it is new, and answers the shard.
func (t *Table) put(i int, rev string) int {
	if w, ok := t.where[i]; ok {
		t.routes[w[0]][w[1]] = t.encode(i, rev)
		return w[0]
	}
	k := i % t.Shards
	if t.Layout == "srds-hash" {
		k = int(Hash(fmt.Sprintf("svc%d", i)) % uint32(t.Shards))
	}
	t.where[i] = [2]int{k, len(t.routes[k])} // before encode: the path may name the shard
	t.routes[k] = append(t.routes[k], t.encode(i, rev))
	t.owners[k] = append(t.owners[k], i)
	return k
}

// Hash is the shard hash; the Lua filter computes the same value.
func Hash(s string) uint32 {
	h := uint32(5381)
	for i := 0; i < len(s); i++ {
		h = h*33 + uint32(s[i])
	}
	return h
}

// Host and Path of a request that route i answers.
func (t *Table) Host(i int) string {
	if t.Layout == "vhosts" || t.Layout == "srds-host" {
		return fmt.Sprintf("h%d.test", t.where[i][0])
	}
	return "any.test"
}
func (t *Table) Path(i int) string {
	if t.Layout == "srds-path" {
		return fmt.Sprintf("/g%d/svc%d/", t.where[i][0], i)
	}
	return fmt.Sprintf("/svc%d/", i)
}

// ID is the value of the x-route response header of route i at revision rev.
func ID(i int, rev string) string { return fmt.Sprintf("r%d-%s", i, rev) }

func Marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// RouteMsg builds the Route message; exported so that experiments can vary it.
var RouteMsg = func(t *Table, i int, rev string) *route.Route {
	return &route.Route{
		Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: t.Path(i)}},
		Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: t.Cluster}}},
		ResponseHeadersToAdd: []*core.HeaderValueOption{{
			Header: &core.HeaderValue{Key: "x-route", Value: ID(i, rev)}}},
	}
}

func (t *Table) encode(i int, rev string) []byte {
	r := RouteMsg(t, i, rev)
	if !t.Tree {
		return Marshal(r)
	}
	a, _ := anypb.New(r)
	on := &xmatch.Matcher_OnMatch{OnMatch: &xmatch.Matcher_OnMatch_Action{
		Action: &xcore.TypedExtensionConfig{Name: "route", TypedConfig: a}}}
	e := field(nil, 1, []byte(t.Path(i)))
	return field(e, 2, Marshal(on))
}

func field(b []byte, num protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func (t *Table) vhost(k int) []byte {
	dom := "*"
	if t.Layout == "vhosts" {
		dom = fmt.Sprintf("h%d.test", k)
	}
	b := field(field(nil, 1, fmt.Appendf(nil, "v%d", k)), 2, []byte(dom))
	if !t.Tree {
		for _, r := range t.routes[k] {
			b = field(b, 3, r)
		}
		return b
	}
	if len(t.routes[k]) == 0 {
		return b
	}
	var mm []byte
	for _, e := range t.routes[k] {
		mm = field(mm, 1, e)
	}
	in, _ := anypb.New(&htype.HttpRequestHeaderMatchInput{HeaderName: ":path"})
	tree := field(nil, 1, Marshal(&xcore.TypedExtensionConfig{Name: "path", TypedConfig: in}))
	tree = field(tree, 3, mm)
	return field(b, 21, field(nil, 2, tree))
}

func (t *Table) rds(k int) *Resource {
	name := "table"
	if t.sharded() {
		name = fmt.Sprintf("rc%d", k)
	}
	b := field(nil, 1, []byte(name))
	if t.vhosts != nil {
		for _, v := range t.vhosts {
			b = field(b, 2, v)
		}
	} else {
		b = field(b, 2, t.vhost(k))
	}
	h := fnv.New64a()
	h.Write(b)
	return &Resource{RDS, name, fmt.Sprintf("%x", h.Sum64()), b}
}

func (t *Table) sharded() bool { return len(t.Layout) > 4 && t.Layout[:4] == "srds" }

func (t *Table) ScopeKey(k int) string {
	switch t.Layout {
	case "srds-host":
		return fmt.Sprintf("h%d.test", k)
	case "srds-path":
		return fmt.Sprintf("g%d", k)
	}
	return fmt.Sprint(k)
}

// All renders every resource (RDS and, when sharded, SRDS).
func (t *Table) All() (out []*Resource) {
	if !t.sharded() {
		return []*Resource{t.rds(0)}
	}
	for k := range t.routes {
		out = append(out, t.rds(k))
		name := fmt.Sprintf("s%d", k)
		out = append(out, &Resource{SRDS, name, "1", Marshal(&route.ScopedRouteConfiguration{
			Name: name, RouteConfigurationName: fmt.Sprintf("rc%d", k),
			Key: &route.ScopedRouteConfiguration_Key{Fragments: []*route.ScopedRouteConfiguration_Key_Fragment{{
				Type: &route.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: t.ScopeKey(k)}}}},
		})})
	}
	return
}

// Change sets route i to revision rev (a route that is not there is added) and returns the one RDS resource to push.
func (t *Table) Change(i int, rev string) *Resource {
	return t.changed(t.put(i, rev))
}

// Remove takes route i away and returns the one RDS resource to push; nil when there is no such route.
func (t *Table) Remove(i int) *Resource {
	w, ok := t.where[i]
	if !ok {
		return nil
	}
	k, at := w[0], w[1]
	t.routes[k] = append(t.routes[k][:at:at], t.routes[k][at+1:]...)
	t.owners[k] = append(t.owners[k][:at:at], t.owners[k][at+1:]...)
	for _, later := range t.owners[k][at:] {
		t.where[later] = [2]int{k, t.where[later][1] - 1}
	}
	delete(t.where, i)
	return t.changed(k)
}

func (t *Table) changed(k int) *Resource {
	if t.vhosts != nil {
		t.vhosts[k] = t.vhost(k)
	}
	return t.rds(k)
}
