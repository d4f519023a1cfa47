package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// made is the variable of a pod that says when its creation was asked for, in nanoseconds since 1970.
const made = "MADE_NS"

// first calls URL as its first act, each time over a new connection, until the proxy has had one: what passed before
// that and how long it took. Then it sleeps.
func first(words []string) error {
	const patience = 20 * time.Second
	begun := time.Now()
	if len(words) != 1 {
		return errors.New("first needs a URL")
	}
	asked, err := strconv.ParseInt(os.Getenv(made), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: %w", made, err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	passed, failed := 0, 0
	for time.Since(begun) < patience {
		response, err := client.Get(words[0])
		if err != nil {
			failed++
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.Header.Get("x-routed-by") == "weir" {
			break
		}
		passed++
	}
	now := time.Now()
	milliseconds := func(from, to time.Time) float64 { return to.Sub(from).Seconds() * 1000 }
	created := time.Unix(0, asked)
	err = json.NewEncoder(os.Stdout).Encode(object{
		"passed": passed, "failed": failed, "enrolled": now.Sub(begun) < patience,
		"begun_ms": milliseconds(created, begun), "enrolled_ms": milliseconds(created, now),
	})
	sleep()
	return err
}

// pods makes so many of them, each of which calls URL as its first act.
func pods(words []string) error {
	flags := flag.NewFlagSet("pods", flag.ContinueOnError)
	count := flags.Int("count", 20, "how many pods")
	round := flags.String("round", "", "part of their names")
	image := flags.String("image", "", "what they run")
	if err := flags.Parse(words); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("pods needs one URL")
	}
	api, err := newAPI()
	if err != nil {
		return err
	}
	return each(*count, 8, func(number int) error {
		now := strconv.FormatInt(time.Now().UnixNano(), 10)
		return api.do(http.MethodPost, "v1/pods", object{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": object{"name": fmt.Sprintf("first-%s-%d", *round, number), "labels": object{"app": "first"}},
			"spec": object{
				"terminationGracePeriodSeconds": 0, "enableServiceLinks": false, "automountServiceAccountToken": false,
				"containers": []object{{
					"name": "first", "image": *image, "args": []string{"first", flags.Arg(0)},
					"env": []object{{"name": made, "value": now}},
				}},
			},
		})
	})
}
