package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// counts is what came of a load so far.
type counts struct {
	Asked int64 `json:"asked"`
	// Good had status 200 and a whole body.
	Good int64 `json:"good"`
	// Failed had another status, or none.
	Failed int64 `json:"failed"`
	// Why failed, and how often.
	Why map[string]int64 `json:"why,omitempty"`
	// Pods that answered, and how often.
	Pods map[string]int64 `json:"pods,omitempty"`
	// Slowest good answer, in milliseconds.
	SlowestMs int64 `json:"slowest_ms"`
	// SilentMs is the longest time without a good answer.
	SilentMs int64 `json:"silent_ms"`
}

type tally struct {
	mutex    sync.Mutex
	counts   counts
	lastGood time.Time
}

// load calls URL from so many clients at a pace until it is told to stop; GET /counts on port 8081 says what came of it.
func load(words []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	clients := flags.Int("clients", 4, "how many call at once")
	every := flags.Duration("every", 10*time.Millisecond, "pace of each client")
	fresh := flags.Bool("fresh", false, "a new connection for each request")
	timeout := flags.Duration("timeout", 5*time.Second, "patience with one request")
	if err := flags.Parse(words); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("load needs one URL")
	}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	tally := &tally{lastGood: time.Now()}
	tally.counts.Why, tally.counts.Pods = map[string]int64{}, map[string]int64{}
	go http.ListenAndServe(":8081", http.HandlerFunc(tally.show))
	var running sync.WaitGroup
	for range *clients {
		// Of its own: what one client has open no other uses.
		transport := &http.Transport{DisableKeepAlives: *fresh}
		client := &http.Client{Timeout: *timeout, Transport: transport}
		running.Add(1)
		go func() {
			defer running.Done()
			pace := time.NewTicker(*every)
			defer pace.Stop()
			for asked.Err() == nil {
				tally.call(client, flags.Arg(0))
				select {
				case <-asked.Done():
				case <-pace.C:
				}
			}
		}()
	}
	running.Wait()
	return json.NewEncoder(os.Stdout).Encode(tally.snapshot())
}

func (t *tally) call(client *http.Client, address string) {
	begun := time.Now()
	pod, err := ask(client, address)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	now := time.Now()
	t.counts.Asked++
	if err != nil {
		t.counts.Failed++
		t.counts.Why[reason(err)]++
		fmt.Fprintln(os.Stderr, now.UTC().Format(time.RFC3339Nano), err)
		return
	}
	t.counts.Good++
	t.counts.Pods[pod]++
	t.counts.SlowestMs = max(t.counts.SlowestMs, now.Sub(begun).Milliseconds())
	t.counts.SilentMs = max(t.counts.SilentMs, now.Sub(t.lastGood).Milliseconds())
	t.lastGood = now
}

// reason is an error without its addresses, so that those of a kind are counted as one.
func reason(err error) string {
	var op *net.OpError
	var whole *url.Error
	switch {
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	case errors.As(err, &whole):
		return whole.Err.Error()
	}
	return err.Error()
}

func ask(client *http.Client, address string) (string, error) {
	response, err := client.Get(address)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %.200s", response.StatusCode, body)
	}
	var answer struct{ Pod string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("not a whole answer: %w", err)
	}
	return answer.Pod, nil
}

func (t *tally) snapshot() counts {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	now := t.counts
	now.Why, now.Pods = map[string]int64{}, map[string]int64{}
	for why, count := range t.counts.Why {
		now.Why[why] = count
	}
	for pod, count := range t.counts.Pods {
		now.Pods[pod] = count
	}
	now.SilentMs = max(now.SilentMs, time.Since(t.lastGood).Milliseconds())
	return now
}

func (t *tally) show(w http.ResponseWriter, _ *http.Request) {
	json.NewEncoder(w).Encode(t.snapshot())
}
