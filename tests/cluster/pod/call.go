package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// get makes one request: `get URL [NAME:VALUE]...`. Its status and headers go to stderr, its body to stdout.
func get(words []string) error {
	if len(words) == 0 {
		return errors.New("get needs a URL")
	}
	request, err := http.NewRequest(http.MethodGet, words[0], nil)
	if err != nil {
		return err
	}
	for _, word := range words[1:] {
		name, value, ok := strings.Cut(word, ":")
		if !ok {
			return fmt.Errorf("%q is not NAME:VALUE", word)
		}
		request.Header.Set(name, value)
	}
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Fprintln(os.Stderr, response.Status)
	response.Header.Write(os.Stderr)
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func lookup(words []string) error {
	if len(words) == 0 {
		return errors.New("lookup needs a name")
	}
	patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(patience, words[0])
	if err != nil {
		return err
	}
	for _, address := range addresses {
		fmt.Println(address)
	}
	return nil
}
