// Command pod is what the pods of the test cluster run, static, so that its image holds nothing else.
//
// Called as `pause` it is the sandbox's process. Else its first argument says what it does:
//
//	serve          answers HTTP and says who answered
//	load URL       calls without end and counts what came of it
//	get URL        one request; its answer on stdout
//	lookup NAME    the addresses of a name
//	first URL      calls as its first act and says what Weir saw of that
//	sleep          waits for its end
//
// And with the rights of a ServiceAccount:
//
//	pods URL       makes pods that run first
//	services       makes many Services
//	changes URL    changes endpoints and says how soon calls follow
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if filepath.Base(os.Args[0]) == "pause" {
		sleep()
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) error {
	verb := ""
	if len(words) > 0 {
		verb, words = words[0], words[1:]
	}
	switch verb {
	case "serve":
		return serve()
	case "load":
		return load(words)
	case "get":
		return get(words)
	case "lookup":
		return lookup(words)
	case "first":
		return first(words)
	case "pods":
		return pods(words)
	case "services":
		return services(words)
	case "changes":
		return changes(words)
	case "sleep":
		sleep()
		return nil
	}
	return fmt.Errorf("usage: pod serve | load | get | lookup | first | sleep | pods | services | changes")
}

// sleep ends at the first signal that asks for it. As process 1 of a pod it reaps whatever is handed to it.
func sleep() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)
	for {
		select {
		case <-end:
			return
		case <-child:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}
