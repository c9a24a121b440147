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

// Every block of Go in the READMEs is compiled and run as it stands there, on another port, in a module of its own that is made by the
// lines of the README. (The READMEs of other languages have the same prefix and run on the same server, so the address is nobody else's.)
func TestReadmeBlocksRun(t *testing.T) {
	t.Parallel()
	clients, err := filepath.Abs(filepath.Join("..", "..", "..", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks, answers strings.Builder
	for _, readme := range []struct {
		name    string
		answers []string // to GET /, and to a login with a wrong password and one with the right one
	}{
		{"README.md", []string{"200 100 200 100 200 100", "404  401 20 200 20"}},
		{"go/README.md", []string{"404  404  404 "}},
	} {
		found := blocksOf(t, filepath.Join(clients, readme.name), "go")
		if len(found) != len(readme.answers) {
			t.Errorf("%s: %d blocks were found", readme.name, len(found))
		}
		for _, block := range found {
			here := strings.ReplaceAll(block, "127.0.0.1:6379", "127.0.0.1:"+environment(t, "RATELIMIT_PORT"))
			fmt.Fprintf(&blocks, "\tshow(func(ctx context.Context, handler http.Handler) error {\n%s\nreturn err\n})\n", here)
		}
		answers.WriteString(strings.Join(readme.answers, "\n") + "\n")
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "main.go"), []byte(strings.Replace(shown, "BLOCKS", blocks.String(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	takes, tidies := linesOfTheReadme(t, clients)
	in(t, home, "go mod init example.com/program\n"+takes+"\n"+tidies+"\ngo vet ./...")
	if output := in(t, home, "go run ."); output != answers.String() {
		t.Errorf("%s\n%s", output, blocks.String())
	}
}

// linesOfTheReadme are what takes the package, and what tidies.
func linesOfTheReadme(t *testing.T, clients string) (takes, tidies string) {
	t.Helper()
	blocks := blocksOf(t, filepath.Join(clients, "go", "README.md"), "sh")
	if len(blocks) != 1 || !strings.Contains(blocks[0], "/path/to/clients/go\n") {
		t.Fatalf("%q", blocks)
	}
	takes, tidies, _ = strings.Cut(blocks[0], "\n")
	return strings.ReplaceAll(takes, "/path/to/clients/go", filepath.Join(clients, "go")), tidies
}

const ofFrameworks = `package main

import (
	"ratelimit/echo"
	"ratelimit/gin"
	"ratelimit/grpc"
	"ratelimit/ulule"
)

var _, _, _, _ = echo.Middleware, gin.Middleware, grpc.ByPeer, ulule.New

func main() {}
`

func TestTheModulesForFrameworksAreTakenByTheSameLine(t *testing.T) {
	t.Parallel()
	clients, err := filepath.Abs(filepath.Join("..", "..", "..", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "main.go"), []byte(ofFrameworks), 0o600); err != nil {
		t.Fatal(err)
	}
	takes, tidies := linesOfTheReadme(t, clients)
	lines := []string{"go mod init example.com/program", takes}
	for _, part := range []string{"echo", "gin", "grpc", "ulule"} {
		lines = append(lines, strings.NewReplacer("ratelimit@", "ratelimit/"+part+"@", "ratelimit=", "ratelimit/"+part+"=").Replace(takes)+"/"+part)
	}
	in(t, home, strings.Join(append(lines, tidies, "go vet ./..."), "\n"))
}

func blocksOf(t *testing.T, file, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

// in runs lines of a shell somewhere, and gives what they print.
func in(t *testing.T, home, lines string) string {
	t.Helper()
	command := exec.Command("sh", "-ec", lines)
	command.Dir = home
	command.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var complaints strings.Builder
	command.Stderr = &complaints
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", lines, err, output, complaints.String())
	}
	return string(output)
}
