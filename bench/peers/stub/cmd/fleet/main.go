// fleet: many simulated Envoys on delta ADS in one process, and one clock for all of them.
//
// It dials -clients streams to -xds, subscribes as Envoy does (CDS, EDS of what CDS names, LDS, then the routes and filters that the listeners
// name), acknowledges what comes, and reconnects with what it holds. Of the clients, -slow read one response each -pace, -refusing refuse every
// response after the first set, and -halfopen stop reading and writing once they hold the first set, as a machine that lost its network.
//
// Commands come as JSON lines on stdin, each answered by one JSON line:
//
//	{"do":"settle","seconds":60}   waits until every good client holds routes and nothing has come for half a second
//	{"do":"change","needle":"r7-x1","method":"PUT","url":"...","headers":{},"body":"...","seconds":30}
//	                               sends the request and waits until every good client has acknowledged a response that holds the needle
//	{"do":"watch","needle":"r7-x2","seconds":60}   the same without sending anything; the clock starts now
//	{"do":"counts"}                streams, connections, bytes
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"
)

var (
	xdsAddr  = flag.String("xds", "127.0.0.1:18000", "ADS address")
	clients  = flag.Int("clients", 1, "how many")
	slow     = flag.Float64("slow", 0, "share that reads slowly")
	refusing = flag.Float64("refusing", 0, "share that refuses")
	halfOpen = flag.Float64("halfopen", 0, "share that goes mute")
	pace     = flag.Duration("pace", 250*time.Millisecond, "a slow client reads one response in this time")
	group    = flag.String("cluster", "fleet", "node.cluster of all of them")
	nodes    = flag.String("nodes", "", "file with a line `id token` for each client; without it they are n1, n2, ... without a token")
)

type command struct {
	Do      string            `json:"do"`
	Needle  string            `json:"needle"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Seconds float64           `json:"seconds"`
}

func main() {
	flag.Parse()
	f := newFleet(*clients, readNodes())
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for _, c := range f.clients {
		go c.run(ctx)
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 1<<26)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var c command
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			panic(err)
		}
		limit := time.Duration(c.Seconds * float64(time.Second))
		switch c.Do {
		case "settle":
			out.Encode(f.settle(limit))
		case "change", "watch":
			out.Encode(f.change(c, limit))
		case "counts":
			out.Encode(f.counts())
		default:
			panic("no such command " + c.Do)
		}
	}
}

func readNodes() [][2]string {
	if *nodes == "" {
		return nil
	}
	b, err := os.ReadFile(*nodes)
	if err != nil {
		panic(err)
	}
	var all [][2]string
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		id, token, _ := strings.Cut(line, " ")
		all = append(all, [2]string{id, token})
	}
	return all
}

// quantiles of milliseconds, with how many there are.
func summary(ms []float64) map[string]any {
	sort.Float64s(ms)
	at := func(q float64) float64 {
		if len(ms) == 0 {
			return -1
		}
		return ms[min(len(ms)-1, int(q*float64(len(ms))))]
	}
	return map[string]any{"count": len(ms), "p50": at(0.5), "p99": at(0.99), "max": at(1)}
}

func (f *fleet) settle(limit time.Duration) map[string]any {
	began := time.Now()
	for time.Since(began) < limit {
		holding := 0
		for _, c := range f.clients {
			if c.kind == good && c.holdsRoutes.Load() {
				holding++
			}
		}
		if holding == f.of(good) && time.Since(time.Unix(0, f.lastCame.Load())) > 500*time.Millisecond {
			return map[string]any{"settled": true, "ms": time.Since(began).Milliseconds(), "holding": holding}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return map[string]any{"settled": false, "counts": f.counts()}
}

func (f *fleet) change(c command, limit time.Duration) map[string]any {
	w := &watch{needle: []byte(c.Needle), began: time.Now(), good: make(chan struct{}, len(f.clients)+1)}
	f.watch.Store(w)
	defer f.watch.Store(nil)
	answer := map[string]any{}
	if c.Do == "change" {
		status, err := ask(c)
		answer["ackMs"] = ms(time.Since(w.began))
		if err != nil || status >= 300 {
			answer["error"] = fmt.Sprint(status, err)
			return answer
		}
	}
	timeout := time.After(limit)
	for seen := 0; seen < f.of(good); {
		select {
		case <-w.good:
			seen++
		case <-timeout:
			answer["late"] = f.of(good) - seen
			seen = f.of(good)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	answer["good"], answer["slow"] = summary(w.times[good]), summary(w.times[slowly])
	return answer
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

var asking = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}, Timeout: 60 * time.Second}

func ask(c command) (int, error) {
	rq, err := http.NewRequest(c.Method, c.URL, strings.NewReader(c.Body))
	if err != nil {
		return 0, err
	}
	for name, value := range c.Headers {
		rq.Header.Set(name, value)
	}
	r, err := asking.Do(rq)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	if r.StatusCode >= 300 {
		return r.StatusCode, fmt.Errorf("%s", b)
	}
	return r.StatusCode, nil
}
