package main

import (
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

	"ratelimit"

	"github.com/redis/go-redis/v9"
)

func block(ctx context.Context, handler http.Handler) error {
BLOCK
	return err
}

func main() {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	if err := block(context.Background(), hello); err != nil {
		panic(err)
	}
	server := httptest.NewServer(nil)
	request, _ := http.NewRequest(http.MethodGet, server.URL, nil)
	request.Header.Set("X-Forwarded-For", "2001:db8:90::1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	fmt.Print(response.StatusCode, " ", response.Header.Get("X-RateLimit-Limit"))
}
`

// Every block of Go in the READMEs is compiled and run as it stands there, on another port. (The READMEs of other languages have the
// same prefix and run on the same server, so the address is nobody else's.)
func TestReadmeBlocksRun(t *testing.T) {
	clients := filepath.Join("..", "..", "..", "clients")
	for name, answer := range map[string]string{"README.md": "200 100", "go/README.md": "404 "} {
		text, err := os.ReadFile(filepath.Join(clients, name))
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s: no block was found", name)
		}
		for _, block := range blocks {
			here := strings.ReplaceAll(block[1], "127.0.0.1:6379", "127.0.0.1:"+environment(t, "RATELIMIT_PORT"))
			program := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(program, []byte(strings.Replace(shown, "BLOCK", here, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			output, err := exec.Command("go", "run", program).CombinedOutput()
			if err != nil || string(output) != answer {
				t.Errorf("%s: %v, %s\n%s", name, err, output, here)
			}
		}
	}
}
