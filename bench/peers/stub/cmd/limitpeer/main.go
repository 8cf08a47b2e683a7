// limitpeer: the lower bound of a control plane for one Envoy. It keeps N routes
// in memory, pre-encoded, and pushes one resource over delta ADS per HTTP call.
//
//	limitpeer -layout srds-hash -n 100000 -shards 1024 -bootstrap boot.yaml -listen 10000 -upstream 10001
//	envoy -c boot.yaml --disable-hot-restart --concurrency 2
//	curl -X PUT 'http://127.0.0.1:18001/route/42?rev=v1'            # 204 after the push
//	curl -X PUT 'http://127.0.0.1:18001/route/42?rev=v2&wait=ack'   # 204 after Envoy's ACK
//	curl -X DELETE 'http://127.0.0.1:18001/route/42'                # and without the route
//	curl 'http://127.0.0.1:18001/route/42'                          # host, path and x-route to probe for
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	ads "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"xdsstub/xds"
)

func main() {
	xdsAddr := flag.String("xds", "127.0.0.1:18000", "ADS address, or a unix socket path")
	httpAddr := flag.String("http", "127.0.0.1:18001", "trigger address")
	layout := flag.String("layout", "list", "list|tree|vhosts|srds-host|srds-path|srds-hash (srds-*+tree)")
	n := flag.Int("n", 10, "routes")
	shards := flag.Int("shards", 1, "shards")
	boot := flag.String("bootstrap", "", "write a matching Envoy bootstrap here")
	listen := flag.Int("listen", 10000, "Envoy data port in the bootstrap")
	up := flag.Int("upstream", 10001, "upstream port in the bootstrap")
	sotw := flag.Bool("sotw", false, "bootstrap uses SotW ADS")
	flag.Parse()

	s, t := xds.New(), xds.NewTable(*layout, *n, *shards, "c0")
	s.Log = func(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
	s.Set(t.All()...)
	if *boot != "" {
		y := xds.Boot{Layout: t.Layout, Shards: *shards, Listen: *listen, Upstream: *up, XDS: *xdsAddr, SotW: *sotw}.YAML()
		if err := os.WriteFile(*boot, []byte(y), 0o644); err != nil {
			panic(err)
		}
	}
	network := "unix"
	if _, _, err := net.SplitHostPort(*xdsAddr); err == nil {
		network = "tcp"
	}
	l, err := net.Listen(network, *xdsAddr)
	if err != nil {
		panic(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(1<<30), grpc.MaxSendMsgSize(1<<30))
	ads.RegisterAggregatedDiscoveryServiceServer(g, s)
	go g.Serve(l)

	var mu sync.Mutex
	http.HandleFunc("/route/{i}", func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.PathValue("i"))
		if err != nil || i < 0 {
			http.Error(w, "no such route", 404)
			return
		}
		rev := r.FormValue("rev")
		if r.Method == "GET" {
			fmt.Fprintf(w, "%s %s %s\n", t.Host(i), t.Path(i), xds.ID(i, rev))
			return
		}
		mu.Lock()
		var changed *xds.Resource
		if r.Method == "DELETE" {
			changed = t.Remove(i)
		} else {
			changed = t.Change(i, rev)
		}
		if changed == nil {
			mu.Unlock()
			http.Error(w, "no such route", 404)
			return
		}
		ch, sent := s.Push(xds.RDS, []*xds.Resource{changed})
		mu.Unlock()
		if r.FormValue("wait") == "ack" {
			for ; sent > 0; sent-- {
				select {
				case a := <-ch:
					if a.Error != "" {
						http.Error(w, a.Error, 422)
						return
					}
				case <-time.After(30 * time.Second):
					http.Error(w, "no ACK", 504)
					return
				}
			}
		}
		w.WriteHeader(204)
	})
	trigger, err := net.Listen("tcp", *httpAddr)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready", t.Layout, *n, "routes")
	panic(http.Serve(trigger, nil))
}
