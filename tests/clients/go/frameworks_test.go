// The middleware of clients/go under each framework, the interceptor of gRPC, and the store of ulule/limiter, over real servers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ratelimit"
	ratelimitecho "ratelimit/echo"
	ratelimitgin "ratelimit/gin"
	ratelimitgrpc "ratelimit/grpc"
	ratelimitulule "ratelimit/ulule"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"github.com/redis/go-redis/v9"
	ulule "github.com/ulule/limiter/v3"
	ululehttp "github.com/ulule/limiter/v3/drivers/middleware/stdlib"
	ululetests "github.com/ulule/limiter/v3/drivers/store/tests"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var made atomic.Int64

func unique(name string) string {
	return fmt.Sprintf("go-%s-%d-%d", name, time.Now().UnixNano(), made.Add(1))
}

func threeAMinute(t *testing.T, name string, more ratelimit.Options) *ratelimit.Limiter {
	more.Algorithm, more.Prefix, more.Limits = ratelimit.Sliding, unique(name), []ratelimit.Limit{{Units: 3, Window: "1m"}}
	return limiter(t, client(t, 3), more)
}

// frameworks answer /as/401 with 401, once the gate lets them, and /crash with an error of the framework's own kind.
func frameworks(gate func()) map[string]func(ratelimit.Middleware) http.Handler {
	return map[string]func(ratelimit.Middleware) http.Handler{
		"chi": func(m ratelimit.Middleware) http.Handler {
			router := chi.NewRouter()
			router.Use(m.Handler)
			router.Get("/as/{status}", func(w http.ResponseWriter, r *http.Request) {
				gate()
				code, _ := strconv.Atoi(chi.URLParam(r, "status"))
				w.WriteHeader(code)
			})
			router.Get("/crash", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
			return router
		},
		"echo": func(m ratelimit.Middleware) http.Handler {
			server := echo.New()
			server.Logger.SetOutput(io.Discard)
			server.Use(ratelimitecho.Middleware(m))
			server.GET("/as/:status", func(c echo.Context) error {
				gate()
				code, _ := strconv.Atoi(c.Param("status"))
				return c.NoContent(code)
			})
			server.GET("/crash", func(echo.Context) error { return echo.NewHTTPError(http.StatusTeapot) })
			return server
		},
		"gin": func(m ratelimit.Middleware) http.Handler {
			gin.SetMode(gin.ReleaseMode)
			server := gin.New()
			server.Use(ratelimitgin.Middleware(m))
			server.GET("/as/:status", func(c *gin.Context) {
				gate()
				code, _ := strconv.Atoi(c.Param("status"))
				c.Status(code)
			})
			server.GET("/crash", func(c *gin.Context) { _ = c.AbortWithError(http.StatusTeapot, errors.New("crash")) })
			return server
		},
	}
}

func statusOf(t *testing.T, url string) int {
	response, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestEachFrameworkLetsThreeOfFiveThroughAndSaysSo(t *testing.T) {
	for name, serve := range frameworks(func() {}) {
		t.Run(name, func(t *testing.T) {
			key := func(*http.Request) string { return "k" }
			server := httptest.NewServer(serve(ratelimit.Middleware{Limiter: threeAMinute(t, name, ratelimit.Options{}), Key: key}))
			defer server.Close()
			for hit := range 5 {
				response := ask(t, server.URL+"/as/204", "")
				expected, remaining := http.StatusNoContent, 2-hit
				if hit > 2 {
					expected, remaining = http.StatusTooManyRequests, 0
				}
				if response.StatusCode != expected || response.Header.Get("X-RateLimit-Remaining") != strconv.Itoa(remaining) ||
					(response.Header.Get("Retry-After") != "") != (hit > 2) || !strings.Contains(response.Header.Get("RateLimit"), fmt.Sprintf("r=%d", remaining)) {
					t.Errorf("hit %d: %d, %v", hit, response.StatusCode, response.Header)
				}
			}
		})
	}
}

func TestEachFrameworkAnswersAsUnavailableSays(t *testing.T) {
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { _ = nowhere.Close() }()
	for unavailable, expected := range map[ratelimit.Unavailable]int{ratelimit.Default: 204, ratelimit.Closed: 503} {
		l, err := limits(t, nowhere).Limiter(ratelimit.Options{
			Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 3, Window: "1m"}}, Unavailable: unavailable, OnError: func(error, int) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, serve := range frameworks(func() {}) {
			server := httptest.NewServer(serve(ratelimit.Middleware{Limiter: l, Key: func(*http.Request) string { return "k" }}))
			if seen := statusOf(t, server.URL+"/as/204"); seen != expected {
				t.Errorf("%s: %d, expected %d", name, seen, expected)
			}
			server.Close()
		}
	}
}

// A login under attack, thirty at once: three get in, and what is skipped is given back, also where the framework answers
// an error after its handler.
func TestALoginOfEachFrameworkNeverLetsInMoreThanTheLimit(t *testing.T) {
	for _, skips := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		var open chan struct{}
		for name, serve := range frameworks(func() { <-open }) {
			t.Run(fmt.Sprintf("%s, skip failed %t, successful %t", name, skips[0], skips[1]), func(t *testing.T) {
				l := threeAMinute(t, name, ratelimit.Options{})
				server := httptest.NewServer(serve(ratelimit.Middleware{
					Limiter: l, SkipFailed: skips[0], SkipSuccessful: skips[1], Key: func(r *http.Request) string { return "k" + r.URL.Path },
				}))
				defer server.Close()
				for _, code := range []int{401, 204} {
					isSkipped := code == 401 && skips[0] || code == 204 && skips[1]
					path := fmt.Sprintf("/as/%d", code)
					for round := range 2 {
						open = make(chan struct{})
						expected := 3
						if round > 0 && !isSkipped {
							expected = 0
						}
						seen := make(chan int, 30)
						for range 30 {
							go func() { seen <- statusOf(t, server.URL+path) }()
						}
						for range 30 - expected {
							if status := <-seen; status != http.StatusTooManyRequests {
								t.Errorf("round %d: %d while three wait", round, status)
							}
						}
						close(open)
						for range expected {
							if status := <-seen; status != code {
								t.Errorf("round %d: %d, expected %d", round, status, code)
							}
						}
						left := int64(0)
						if isSkipped {
							left = 3
						}
						eventually(t, fmt.Sprintf("%d left", left), func() bool { return l.Peek(background, "k"+path, ratelimit.Cost(0)).Remaining == left })
					}
				}
				if status := statusOf(t, server.URL+"/crash"); status != http.StatusTeapot {
					t.Errorf("%d", status)
				}
				left := int64(2)
				if skips[0] {
					left = 3
				}
				eventually(t, "the crash is settled", func() bool { return l.Peek(background, "k/crash", ratelimit.Cost(0)).Remaining == left })
			})
		}
	}
}

// A service without generated code: Say answers what it is told, or fails with "wrong"; Chat says everything again.
var service = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Say", Handler: func(server any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		said := new(wrapperspb.StringValue)
		if err := decode(said); err != nil {
			return nil, err
		}
		return intercept(ctx, said, &grpc.UnaryServerInfo{Server: server, FullMethod: "/test.Echo/Say"}, func(context.Context, any) (any, error) {
			if said.Value == "wrong" {
				return nil, status.Error(codes.Unauthenticated, "wrong")
			}
			return said, nil
		})
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		for {
			said := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(said); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if err := stream.SendMsg(said); err != nil {
				return err
			}
		}
	}}},
}

func dial(t *testing.T, i ratelimitgrpc.Interceptor) *grpc.ClientConn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(i.Unary()), grpc.ChainStreamInterceptor(i.Stream()))
	server.RegisterService(&service, struct{}{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func say(connection *grpc.ClientConn, what string, options ...grpc.CallOption) error {
	ctx := metadata.AppendToOutgoingContext(background, "x-api-key", what)
	return connection.Invoke(ctx, "/test.Echo/Say", wrapperspb.String(what), new(wrapperspb.StringValue), options...)
}

func TestGrpcAnswersResourceExhaustedWithWhenToComeBack(t *testing.T) {
	connection := dial(t, ratelimitgrpc.Interceptor{Limiter: threeAMinute(t, "grpc", ratelimit.Options{Name: "api"}), Key: ratelimitgrpc.ByPeer})
	for call := range 5 {
		var header metadata.MD
		err := say(connection, "hello", grpc.Header(&header))
		if call < 3 {
			if err != nil || !strings.HasPrefix(header.Get("ratelimit")[0], fmt.Sprintf(`"api";r=%d`, 2-call)) {
				t.Errorf("call %d: %v, %v", call, err, header)
			}
			continue
		}
		denied := status.Convert(err)
		if denied.Code() != codes.ResourceExhausted || len(denied.Details()) != 1 {
			t.Fatalf("call %d: %v", call, err)
		}
		if wait := denied.Details()[0].(*errdetails.RetryInfo).RetryDelay.AsDuration(); wait <= 50*time.Second || wait > time.Minute {
			t.Errorf("call %d: %v", call, wait)
		}
	}
}

func TestGrpcSkipsGivesBackAndKeepsCallersApart(t *testing.T) {
	l := threeAMinute(t, "grpc", ratelimit.Options{})
	connection := dial(t, ratelimitgrpc.Interceptor{
		Limiter: l, Key: ratelimitgrpc.ByMetadata("x-api-key"), GivesBack: func(err error) bool { return err == nil },
		Skip: func(_ context.Context, method string) bool { return method == "/test.Echo/Chat" },
	})
	for range 6 {
		if err := say(connection, "right"); err != nil {
			t.Fatal(err)
		}
	}
	seen := []codes.Code{}
	for range 5 {
		seen = append(seen, status.Code(say(connection, "wrong")))
	}
	if fmt.Sprint(seen) != "[Unauthenticated Unauthenticated Unauthenticated ResourceExhausted ResourceExhausted]" {
		t.Error(seen)
	}
	if chatted, err := chat(t, connection, 6); chatted != 6 || err != nil {
		t.Errorf("%d, %v: it is skipped", chatted, err)
	}
}

// chat reports how many messages came back.
func chat(t *testing.T, connection *grpc.ClientConn, many int) (int, error) {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	stream, err := connection.NewStream(ctx, &service.Streams[0], "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for sent := range many {
		_ = stream.SendMsg(wrapperspb.String("hello")) // its error is RecvMsg's
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return sent, err
		}
	}
	return many, nil
}

func TestGrpcStreamsAreChargedAtTheirBeginningOrByMessage(t *testing.T) {
	for _, perMessage := range []bool{false, true} {
		l := threeAMinute(t, "grpc", ratelimit.Options{})
		connection := dial(t, ratelimitgrpc.Interceptor{Limiter: l, Key: ratelimitgrpc.ByPeer, PerMessage: perMessage})
		seen := []string{}
		for range 4 {
			many, err := chat(t, connection, 2)
			seen = append(seen, fmt.Sprint(many, " ", status.Code(err)))
		}
		expected := map[bool]string{
			false: "[2 OK 2 OK 2 OK 0 ResourceExhausted]",
			true:  "[2 OK 1 ResourceExhausted 0 ResourceExhausted 0 ResourceExhausted]",
		}[perMessage]
		if fmt.Sprint(seen) != expected {
			t.Errorf("by message %t: %v, expected %s", perMessage, seen, expected)
		}
	}
}

func TestGrpcAnswersAsUnavailableSays(t *testing.T) {
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { _ = nowhere.Close() }()
	for unavailable, expected := range map[ratelimit.Unavailable]codes.Code{ratelimit.Open: codes.OK, ratelimit.Closed: codes.Unavailable} {
		l, err := limits(t, nowhere).Limiter(ratelimit.Options{
			Algorithm: ratelimit.Sliding, Limits: []ratelimit.Limit{{Units: 3, Window: "1m"}}, Unavailable: unavailable, OnError: func(error, int) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := say(dial(t, ratelimitgrpc.Interceptor{Limiter: l, Key: ratelimitgrpc.ByPeer}), "hello"); status.Code(err) != expected {
			t.Errorf("%v, expected %v", err, expected)
		}
	}
}

func ululeStore(t *testing.T, options ratelimitulule.Options) *ratelimitulule.Store {
	options.Prefix, options.Timeout = unique("ulule"), time.Minute
	store, err := ratelimitulule.New(limits(t, client(t, 3)), options)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// The suite that the library has for stores.
func TestUluleStorePassesTheLibrarysOwnTests(t *testing.T) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.Sliding, ratelimit.Fixed} {
		t.Run(string(algorithm), func(t *testing.T) {
			ululetests.TestStoreSequentialAccess(t, ululeStore(t, ratelimitulule.Options{Algorithm: algorithm, CountDenied: true}))
		})
	}
	ululetests.TestStoreConcurrentAccess(t, ululeStore(t, ratelimitulule.Options{Coalesce: true}))
}

func TestUluleStoreUnderTheLibrarysOwnMiddleware(t *testing.T) {
	store := ululeStore(t, ratelimitulule.Options{})
	instance := ulule.New(store, ulule.Rate{Limit: 3, Period: time.Minute})
	server := httptest.NewServer(ululehttp.NewMiddleware(instance).Handler(hello))
	defer server.Close()
	var group sync.WaitGroup
	seen := make(chan int, 30)
	for range 30 {
		group.Go(func() { seen <- statusOf(t, server.URL) })
	}
	group.Wait()
	close(seen)
	passed := 0
	for status := range seen {
		if status == http.StatusOK {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d of 30 got in, and 3 may", passed)
	}
}

func TestUluleStoreCountsInOneGivesBackAndLooksAhead(t *testing.T) {
	store := ululeStore(t, ratelimitulule.Options{})
	rate := ulule.Rate{Limit: 5, Period: time.Hour}
	increment := func(count int64) ulule.Context {
		said, err := store.Increment(background, "k", count, rate)
		if err != nil {
			t.Fatal(err)
		}
		return said
	}
	if said := increment(3); said.Remaining != 2 || said.Reached {
		t.Errorf("%+v", said)
	}
	if said := increment(3); said.Remaining != 2 || !said.Reached {
		t.Errorf("%+v: all or none", said)
	}
	if said := increment(-1); said.Remaining != 3 || said.Reached {
		t.Errorf("%+v", said)
	}
	increment(3)
	peeked, err := store.Peek(background, "k", rate)
	if wait := peeked.Reset - time.Now().Unix(); err != nil || !peeked.Reached || wait < 3500 || wait > 3600 {
		t.Errorf("%+v, %v: the next one would be denied", peeked, err)
	}
	if _, err := store.Get(background, "k", ulule.Rate{Limit: 1}); err == nil {
		t.Error("a period of 0 is a mistake")
	}
	if _, err := ratelimitulule.New(limits(t, client(t, 3)), ratelimitulule.Options{Algorithm: ratelimit.Bucket}); err == nil {
		t.Error("a bucket has no rate of this kind")
	}
}

func TestUluleStoreAnswersAsUnavailableSays(t *testing.T) {
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { _ = nowhere.Close() }()
	rate := ulule.Rate{Limit: 3, Period: time.Minute}
	for unavailable, reached := range map[ratelimit.Unavailable]bool{ratelimit.Open: false, ratelimit.Closed: true} {
		store, err := ratelimitulule.New(limits(t, nowhere), ratelimitulule.Options{Unavailable: unavailable, OnError: func(error, int) {}})
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []func(context.Context, string, ulule.Rate) (ulule.Context, error){store.Get, store.Peek} {
			if said, err := call(background, "k", rate); err != nil || said.Reached != reached || said.Limit != 3 {
				t.Errorf("%+v, %v", said, err)
			}
		}
		if _, err := store.Reset(background, "k", rate); err == nil {
			t.Error("a reset that was not done is said")
		}
	}
}
