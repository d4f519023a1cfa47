// The conformance suite of the Gateway API as a program: its flags are the suite's and those of go test.
//
// With -without-https it makes no Gateway with an HTTPS listener before it begins. The suite waits until all are
// accepted, so that an implementation without TLS sees no test begin. What it reports then is no conformance.
package main

import (
	"flag"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/gateway-api/conformance"
)

// The manifests that are applied first.
const base = "base/manifests.yaml"

var withoutHTTPS = flag.Bool("without-https", false, "make no Gateway with an HTTPS listener: shows what else holds, and is no conformance")

func main() {
	matches := func(pattern, name string) (bool, error) { return regexp.MatchString(pattern, name) }
	suite := []testing.InternalTest{{Name: "TestConformance", F: run}}
	testing.Main(matches, suite, nil, nil)
}

func run(t *testing.T) {
	options := conformance.DefaultOptions(t)
	if *withoutHTTPS {
		manifests, err := plain()
		if err != nil {
			t.Fatalf("the suite's manifests cannot be read: %v", err)
		}
		options.ManifestFS = []fs.FS{manifests}
	}
	conformance.RunConformanceWithOptions(t, options)
}

// A file system with one file of its own.
type replaced struct {
	fs.FS
	own fstest.MapFS
}

func (r replaced) Open(name string) (fs.File, error) {
	if _, has := r.own[name]; has {
		return r.own.Open(name)
	}
	return r.FS.Open(name)
}

// The suite's files, and in the base manifests no Gateway that has an HTTPS listener.
func plain() (fs.FS, error) {
	text, err := fs.ReadFile(conformance.Manifests, base)
	if err != nil {
		return nil, err
	}
	var kept []string
	for _, object := range strings.Split(string(text), "\n---\n") {
		if !strings.Contains(object, "\nkind: Gateway\n") || !strings.Contains(object, "protocol: HTTPS") {
			kept = append(kept, object)
		}
	}
	own := fstest.MapFS{base: {Data: []byte(strings.Join(kept, "\n---\n"))}}
	return replaced{FS: conformance.Manifests, own: own}, nil
}
