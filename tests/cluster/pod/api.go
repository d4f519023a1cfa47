package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// accounts is where a pod finds what its ServiceAccount may use.
const accounts = "/var/run/secrets/kubernetes.io/serviceaccount/"

// api talks to the API server as the pod's ServiceAccount, in the pod's namespace.
type api struct {
	client    *http.Client
	base      string
	token     string
	namespace string
}

func newAPI() (*api, error) {
	var files [3]string
	for i, name := range []string{"token", "namespace", "ca.crt"} {
		bytes, err := os.ReadFile(accounts + name)
		if err != nil {
			return nil, err
		}
		files[i] = string(bytes)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(files[2])) {
		return nil, fmt.Errorf("no certificate in %sca.crt", accounts)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64}
	server := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	return &api{
		client:    &http.Client{Timeout: 30 * time.Second, Transport: transport},
		base:      "https://" + server,
		token:     files[0],
		namespace: files[1],
	}, nil
}

// do makes one request; path is below the namespace, as "v1/services". A server that is too busy is asked again.
func (a *api) do(method, path string, body any) error {
	root := "/apis/"
	if strings.HasPrefix(path, "v1/") {
		root = "/api/"
	}
	group, rest := path, ""
	if i := strings.LastIndex(path, "v1/"); i >= 0 {
		group, rest = path[:i+2], path[i+2:]
	}
	address := a.base + root + group + "/namespaces/" + a.namespace + rest
	for {
		content := []byte(nil)
		if body != nil {
			var err error
			if content, err = json.Marshal(body); err != nil {
				return err
			}
		}
		request, err := http.NewRequest(method, address, bytes.NewReader(content))
		if err != nil {
			return err
		}
		request.Header.Set("authorization", "Bearer "+a.token)
		request.Header.Set("content-type", "application/json")
		if method == http.MethodPatch {
			request.Header.Set("content-type", "application/merge-patch+json")
		}
		response, err := a.client.Do(request)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		switch {
		case err != nil:
			return err
		case response.StatusCode == http.StatusTooManyRequests:
			wait, _ := strconv.Atoi(response.Header.Get("retry-after"))
			time.Sleep(time.Duration(max(wait, 1)) * time.Second)
		case response.StatusCode >= 300:
			return fmt.Errorf("%s %s: %s: %.300s", method, address, response.Status, answer)
		default:
			return nil
		}
	}
}

// each calls with 0 to count-1, some at once; the first error.
func each(count, atOnce int, call func(int) error) error {
	var running sync.WaitGroup
	numbers, failed := make(chan int), make(chan error, atOnce)
	for range atOnce {
		running.Add(1)
		go func() {
			defer running.Done()
			for number := range numbers {
				if err := call(number); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	var first error
	for number := 0; number < count && first == nil; number++ {
		select {
		case numbers <- number:
		case first = <-failed:
		}
	}
	close(numbers)
	running.Wait()
	close(failed)
	for err := range failed {
		if first == nil {
			first = err
		}
	}
	return first
}

// object is part of one, as JSON.
type object = map[string]any

// slice is an EndpointSlice of a Service; its endpoints are ready.
func slice(service string, port int, addresses []string) object {
	endpoints := []object{}
	for _, address := range addresses {
		endpoints = append(endpoints, object{"addresses": []string{address}, "conditions": object{"ready": true}})
	}
	return object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  object{"name": service, "labels": object{"kubernetes.io/service-name": service, "app": "many"}},
		"ports":     []object{{"name": "http", "port": port, "protocol": "TCP"}},
		"endpoints": endpoints,
	}
}
