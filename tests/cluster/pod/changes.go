package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// settled is how long an endpoint must have been silent before the next change.
const settled = 25 * time.Millisecond

// pace is the time from one call of a client to its next. Clients that called as fast as they can would take the CPUs
// from those whose delay is measured.
const pace = time.Millisecond

// delays is a distribution, in milliseconds.
type delays struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Most  float64 `json:"most_ms"`
}

func distribution(all []time.Duration) delays {
	if len(all) == 0 {
		return delays{}
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	at := func(share float64) float64 {
		return all[int(share*float64(len(all)-1)+0.5)].Seconds() * 1000
	}
	return delays{Count: len(all), P50: at(0.5), P99: at(0.99), Most: at(1)}
}

// seen says when one endpoint answered.
type seen struct {
	mutex  sync.Mutex
	times  []time.Time
	failed atomic.Int64
}

func (s *seen) note() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.times = append(s.times, time.Now())
}

// take gives what was noted and forgets it.
func (s *seen) take() []time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	times := s.times
	s.times = nil
	return times
}

func (s *seen) last() time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.times) == 0 {
		return time.Time{}
	}
	return s.times[len(s.times)-1]
}

// services makes so many of them, each with endpoints that nobody calls.
func services(words []string) error {
	flags := flag.NewFlagSet("services", flag.ContinueOnError)
	count := flags.Int("count", 1000, "how many Services")
	endpoints := flags.Int("endpoints", 10, "of each")
	if err := flags.Parse(words); err != nil {
		return err
	}
	api, err := newAPI()
	if err != nil {
		return err
	}
	begun := time.Now()
	err = each(*count, 16, func(number int) error {
		name := fmt.Sprintf("many-%d", number)
		service := object{
			"apiVersion": "v1", "kind": "Service",
			"metadata": object{"name": name, "labels": object{"app": "many"}},
			"spec":     object{"ports": []object{{"name": "http", "port": 80, "appProtocol": "http"}}},
		}
		if err := api.do(http.MethodPost, "v1/services", service); err != nil {
			return err
		}
		addresses := []string{}
		for endpoint := range *endpoints {
			// Of the block that is for benchmarks.
			at := number**endpoints + endpoint
			addresses = append(addresses, fmt.Sprintf("198.%d.%d.%d", 18+at>>16&1, at>>8&255, at&255))
		}
		return api.do(http.MethodPost, "discovery.k8s.io/v1/endpointslices", slice(name, 80, addresses))
	})
	fmt.Printf("{\"seconds\":%.1f}\n", time.Since(begun).Seconds())
	return err
}

// changes adds an endpoint to a Service and removes it, over and over, and calls that Service all the while: how long
// after the API server's answer the new endpoint gave its first answer, and a removed one its last.
func changes(words []string) error {
	flags := flag.NewFlagSet("changes", flag.ContinueOnError)
	count := flags.Int("count", 40, "how many changes")
	clients := flags.Int("clients", 2, "how many call at once")
	service := flags.String("service", "changing", "the Service, which has a slice of its name")
	port := flags.Int("port", 8080, "of the endpoints")
	stays := flags.String("stays", "", "address of the endpoint that stays")
	comes := flags.String("comes", "", "address of the one that comes and goes")
	pod := flags.String("pod", "", "the name that this one answers with")
	if err := flags.Parse(words); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("changes needs one URL")
	}
	api, err := newAPI()
	if err != nil {
		return err
	}
	var seen seen
	var calls atomic.Int64
	for range *clients {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
		go func() {
			for range time.Tick(pace) {
				who, err := ask(client, flags.Arg(0))
				calls.Add(1)
				switch {
				case err != nil:
					seen.failed.Add(1)
					fmt.Fprintln(os.Stderr, err)
				case who == *pod:
					seen.note()
				}
			}
		}()
	}
	without := slice(*service, *port, []string{*stays})["endpoints"]
	with := slice(*service, *port, []string{*stays, *comes})["endpoints"]
	path := "discovery.k8s.io/v1/endpointslices/" + *service
	var first, last []time.Duration
	for change := 0; change < *count; change += 2 {
		seen.take()
		if err := api.do(http.MethodPatch, path, object{"endpoints": with}); err != nil {
			return err
		}
		added := time.Now()
		for seen.last().IsZero() {
			if time.Since(added) > 10*time.Second {
				return errors.New("an endpoint that was added is not called")
			}
			time.Sleep(200 * time.Microsecond)
		}
		first = append(first, max(0, seen.take()[0].Sub(added)))
		time.Sleep(settled)
		if err := api.do(http.MethodPatch, path, object{"endpoints": without}); err != nil {
			return err
		}
		removed := time.Now()
		for time.Since(removed) < settled || time.Since(seen.last()) < settled {
			if time.Since(removed) > 10*time.Second {
				return errors.New("an endpoint that was removed is still called")
			}
			time.Sleep(time.Millisecond)
		}
		last = append(last, max(0, seen.last().Sub(removed)))
	}
	return json.NewEncoder(os.Stdout).Encode(object{
		"first": distribution(first), "last": distribution(last), "failed": seen.failed.Load(), "calls": calls.Load(),
	})
}
