package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Client sends the commands of limiters and leasers. It is safe for concurrent use; make one for a program.
type Client struct {
	redis redis.UniversalClient
}

// NewClient makes a client of a *redis.Client, a *redis.ClusterClient or a *redis.Ring; NewFailoverClient makes one of Sentinels.
//
// It opens connections of its own, with the same options but for three: go-redis sends a command again when its connection
// breaks, up to four times by default, and a hit whose reply was lost would be charged each time; while it waits for a reply
// it does not heed a context's deadline; and it dials five times, with pauses, where nobody listens. Close closes them.
func NewClient(client redis.UniversalClient) (*Client, error) {
	switch c := client.(type) {
	case *redis.Client:
		if c == nil {
			break
		}
		options := *c.Options()
		if options.Addr == ofSentinels {
			return nil, errors.New("ratelimit: a client of Sentinels: expected NewFailoverClient with its redis.FailoverOptions, " +
				"as connections made from the client would stay with the old master after a failover")
		}
		options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries = true, -1, 1
		options.PushNotificationProcessor = nil // the caller's client has filled it; this one fills its own
		return &Client{redis.NewClient(&options)}, nil
	case *redis.ClusterClient:
		if c == nil {
			break
		}
		options := *c.Options()
		options.ContextTimeoutEnabled, options.MaxRetries = true, -1
		options.DialerRetries = 1
		newNode := options.NewClient
		options.NewClient = func(ofNode *redis.Options) *redis.Client {
			node := newNode(ofNode)
			node.AddHook(sentOnce{})
			return node
		}
		return &Client{redis.NewClusterClient(&options)}, nil
	case *redis.Ring:
		if c == nil {
			break
		}
		options := *c.Options()
		options.ContextTimeoutEnabled, options.MaxRetries = true, -1
		newShard := options.NewClient
		options.NewClient = func(ofShard *redis.Options) *redis.Client {
			ofShard.DialerRetries = 1
			return newShard(ofShard)
		}
		return &Client{redis.NewRing(&options)}, nil
	}
	return nil, fmt.Errorf("ratelimit: expected a *redis.Client, *redis.ClusterClient or *redis.Ring, got %T", client)
}

// ofSentinels is what go-redis calls the address of a client that asks Sentinels for it.
const ofSentinels = "FailoverClient"

// NewFailoverClient makes a client of the master that Sentinels name, and follows them: those of a redis.UniversalOptions are its
// Failover(). Of a *redis.Client that redis.NewFailoverClient has made none can be made: nobody but itself is told of a failover, and for
// some seconds, or until a partition ends, the old master would go on counting beside the new one.
func NewFailoverClient(sentinels *redis.FailoverOptions) (*Client, error) {
	switch {
	case sentinels == nil || sentinels.MasterName == "" || len(sentinels.SentinelAddrs) == 0:
		return nil, errors.New("ratelimit: FailoverOptions: expected a MasterName and SentinelAddrs")
	case sentinels.ReplicaOnly || sentinels.RouteByLatency || sentinels.RouteRandomly:
		return nil, errors.New("ratelimit: FailoverOptions: expected no ReplicaOnly, RouteByLatency or RouteRandomly: only the master counts")
	}
	options := *sentinels
	options.ContextTimeoutEnabled, options.MaxRetries, options.DialerRetries = true, -1, 1
	return &Client{redis.NewFailoverClient(&options)}, nil
}

// Close closes the connections that NewClient opened; the caller's own client stays open.
func (c *Client) Close() error { return c.redis.Close() }

// sentOnce stands in front of each node of a cluster, whose client sends again what it takes for passing: what it is told
// here it takes for nothing it knows. A redirection was not carried out, and is followed.
type sentOnce struct{}

type final struct{ error }

// Error begins otherwise than what the client looks for.
func (f final) Error() string { return "sent once: " + f.error.Error() }

func once(err error, of ...redis.Cmder) error {
	isOurs := func(cmd redis.Cmder) bool { return strings.HasPrefix(cmd.Name(), "rl.") }
	if err == nil || !slices.ContainsFunc(of, isOurs) { // go-redis' own, with which it opens a connection
		return err
	}
	for _, redirection := range []string{"MOVED ", "ASK ", "TRYAGAIN "} {
		if strings.HasPrefix(err.Error(), redirection) {
			return err
		}
	}
	return final{err}
}

// told is what there was to tell.
func told(err error) error {
	if last, isFinal := err.(final); isFinal {
		return last.error
	}
	return err
}

func (sentOnce) DialHook(next redis.DialHook) redis.DialHook { return next }

func (sentOnce) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return once(next(ctx, cmd), cmd) }
}

func (sentOnce) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return once(next(ctx, cmds), cmds...) }
}

// process sends a command, whose first key stands at the given place.
func (c *Client) process(ctx context.Context, cmd redis.Cmder, firstKey int8) error {
	cmd.SetFirstKeyPos(firstKey)
	return told(c.redis.Process(ctx, cmd))
}

// numbers is do of a command whose reply has numbers alone, which are read as such.
func (c *Client) numbers(ctx context.Context, words []any, firstKey int8) ([]int64, error) {
	cmd := redis.NewIntSliceCmd(ctx, words...)
	err := c.process(ctx, cmd, firstKey)
	return cmd.Val(), err
}

// do sends words, whose first key stands at the given place.
func (c *Client) do(ctx context.Context, words []any, firstKey int8) (any, error) {
	cmd := redis.NewCmd(ctx, words...)
	err := c.process(ctx, cmd, firstKey)
	return cmd.Val(), err
}
