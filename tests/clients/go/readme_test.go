package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const shown = `package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })

func ask(method, address, password string) string {
	form := url.Values{"email": {"alice@example.com"}, "password": {password}}
	request, _ := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Forwarded-For", "2001:db8:90::1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	return fmt.Sprint(response.StatusCode, " ", response.Header.Get("X-RateLimit-Limit"))
}

func show(block func(ctx context.Context, handler http.Handler) error) {
	http.DefaultServeMux = http.NewServeMux() // which the block adds to
	if err := block(context.Background(), hello); err != nil {
		panic(err)
	}
	server := httptest.NewServer(http.DefaultServeMux)
	defer server.Close()
	fmt.Println(ask(http.MethodGet, server.URL, ""), ask(http.MethodPost, server.URL+"/login", "12345"), ask(http.MethodPost, server.URL+"/login", "correct horse"))
}

func main() {
BLOCKS}
`

// Every block of Go in the READMEs is compiled and run as it stands there, on another port. (The READMEs of other languages have the
// same prefix and run on the same server, so the address is nobody else's.)
func TestReadmeBlocksRun(t *testing.T) {
	t.Parallel()
	clients := filepath.Join("..", "..", "..", "clients")
	var blocks, answers strings.Builder
	for _, readme := range []struct {
		name    string
		answers []string // to GET /, and to a login with a wrong password and one with the right one
	}{
		{"README.md", []string{"200 100 200 100 200 100", "404  401 20 200 20"}},
		{"go/README.md", []string{"404  404  404 "}},
	} {
		text, err := os.ReadFile(filepath.Join(clients, readme.name))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
		if len(found) != len(readme.answers) {
			t.Errorf("%s: %d blocks were found", readme.name, len(found))
		}
		for _, block := range found {
			here := strings.ReplaceAll(block[1], "127.0.0.1:6379", "127.0.0.1:"+environment(t, "RATELIMIT_PORT"))
			fmt.Fprintf(&blocks, "\tshow(func(ctx context.Context, handler http.Handler) error {\n%s\nreturn err\n})\n", here)
		}
		answers.WriteString(strings.Join(readme.answers, "\n") + "\n")
	}
	program := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(program, []byte(strings.Replace(shown, "BLOCKS", blocks.String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("go", "run", program).CombinedOutput()
	if err != nil || string(output) != answers.String() {
		t.Errorf("%v, %s\n%s", err, output, blocks.String())
	}
}
