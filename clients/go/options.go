package ratelimit

import (
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Algorithm is how hits are counted.
type Algorithm string

// The algorithms of the module.
const (
	// Fixed counts in windows that the clock or the calendar begins.
	Fixed Algorithm = "FIXED"
	// Sliding never admits more than the limit in any interval as long as the window.
	Sliding Algorithm = "SLIDING"
	// Bucket starts full and refills all the time.
	Bucket Algorithm = "BUCKET"
)

// Limit is one limit: so many units in a window. A bucket's is its capacity, refilled by Refill units in each Window.
type Limit struct {
	// Units may be used: 0 to 2^53 - 1. 0 denies everything.
	Units int64
	// Window is a number with a unit, "500ms", "15m", "30d"; for Fixed also the calendar's: "1mo", "1d@Europe/Berlin".
	Window string
	// Refill is for Bucket alone.
	Refill int64
}

// Unavailable is what a call answers where the server could not be asked.
type Unavailable int

const (
	// Default is Open, or Closed where Options.Block is set: guessing passwords must not be free while Redis is away.
	Default Unavailable = iota
	// Open lets everybody through.
	Open
	// Closed lets nobody through.
	Closed
)

// Options are what a limiter is made of.
type Options struct {
	Algorithm Algorithm
	// Limits are 1 to 8, each with its own window.
	Limits []Limit
	// Prefix stands before each key, with a colon.
	Prefix string
	// Name stands in the RateLimit fields. The prefix where it is empty.
	Name string
	// Policies are names of the server's policies, up to 4: the first that exists replaces the limits.
	Policies []string
	// Block are up to 8 durations: a hit that is denied shuts the key for so long, the next time for the next.
	Block []string
	// Coalesce makes one command of the hits on one key that come while another one of it is on its way: of many callers of
	// one hot key. Only of hits without options but Next. The server's statistics then count commands.
	Coalesce bool
	// Prefetch takes so many units of a key ahead with one command, hands them out from memory, and gives back what is not
	// used within PrefetchHold, and when the limiter is closed. Only for hits without options but Next; others are commands
	// of their own. Nothing is handed out that was not charged before; others may be denied too early, by at most
	// processes x Prefetch. Not with Block or Coalesce. 0: nothing is taken ahead.
	Prefetch int64
	// PrefetchHold is a second where it is 0, or a tenth of the shortest window where that is less. A sliding window or a
	// bucket counts a unit from when it was taken, up to this before it is used.
	PrefetchHold time.Duration
	// Timeout is how long a call may take; a second where it is 0.
	Timeout     time.Duration
	Unavailable Unavailable
	// OnError is told of each error, but at most once a second, with how many there have been since the last time. It
	// must not block. Where it is nil, slog's default logger warns.
	OnError func(err error, count int)
	// Observe is told of every call, for metrics: what was answered (Verdict.Outcome, ReasonOf), and how long it took. It
	// must not block.
	Observe func(verdict Verdict, took time.Duration)
}

const maxCount = 1<<53 - 1

var (
	duration = regexp.MustCompile(`^(\d{1,18})(ms|s|m|h|d|w)$`)
	calendar = regexp.MustCompile(`^[1-9]\d{0,3}(d|w|mo|y)(@[^\s]+)?$`)
	first    = regexp.MustCompile(`^(\d{1,18})(ms|s|m|h|d|w)@first$`)
	unitMs   = map[string]int64{"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
)

const maxDurationMs = 3660 * 86_400_000

// milliseconds of a duration as the server reads it, or 0.
func milliseconds(written string) int64 {
	parts := duration.FindStringSubmatch(strings.ToLower(written))
	if parts == nil {
		return 0
	}
	number, err := strconv.ParseInt(parts[1], 10, 64)
	if unit := unitMs[parts[2]]; err == nil && number <= maxDurationMs/unit {
		return number * unit
	}
	return 0
}

func checkDuration(what, written string) error {
	if milliseconds(written) == 0 {
		return fmt.Errorf("ratelimit: %s: expected a number with a unit, 1ms to 3660d, such as 500ms or 15m, got %q", what, written)
	}
	return nil
}

// words of the limits behind the key, and what the RateLimit fields call each.
func (o *Options) words() ([]any, []described, error) {
	switch o.Algorithm {
	case Fixed, Sliding, Bucket:
	default:
		return nil, nil, fmt.Errorf("ratelimit: Algorithm: expected Fixed, Sliding or Bucket, got %q", o.Algorithm)
	}
	if len(o.Limits) < 1 || len(o.Limits) > 8 {
		return nil, nil, fmt.Errorf("ratelimit: Limits: expected 1 to 8, got %d", len(o.Limits))
	}
	var words []any
	var names []described
	seen := map[string]bool{}
	for i, limit := range o.Limits {
		what := fmt.Sprintf("Limits[%d]", i)
		if limit.Units < 0 || limit.Units > maxCount {
			return nil, nil, fmt.Errorf("ratelimit: %s.Units: expected 0 to 2^53 - 1, got %d", what, limit.Units)
		}
		ofCalendar := o.Algorithm == Fixed && (calendar.MatchString(limit.Window) || first.MatchString(limit.Window))
		if !ofCalendar {
			if err := checkDuration(what+".Window", limit.Window); err != nil {
				return nil, nil, err
			}
		}
		if seen[limit.Window] {
			return nil, nil, fmt.Errorf("ratelimit: %s: a second limit of the window %s", what, limit.Window)
		}
		seen[limit.Window] = true
		words = append(words, limit.Units)
		if o.Algorithm == Bucket {
			if limit.Refill < 1 || limit.Refill > maxCount {
				return nil, nil, fmt.Errorf("ratelimit: %s.Refill: expected 1 to 2^53 - 1, got %d", what, limit.Refill)
			}
			words = append(words, limit.Refill)
		} else if limit.Refill != 0 {
			return nil, nil, fmt.Errorf("ratelimit: %s.Refill: only a Bucket has one", what)
		}
		words = append(words, limit.Window)
		names = append(names, o.describe(limit, len(o.Limits)))
	}
	return words, names, nil
}

func (o *Options) describe(limit Limit, count int) described {
	one := described{name: o.name()}
	if count > 1 {
		one.name += "-" + limit.Window
	}
	// A week of Fixed is the calendar's, and has the same length; a policy may have another window.
	if ms := milliseconds(limit.Window); ms%1000 == 0 && len(o.Policies) == 0 {
		one.windowSeconds = ms / 1000
	}
	return one
}

func (o *Options) name() string {
	switch {
	case o.Name != "":
		return o.Name
	case o.Prefix != "":
		return o.Prefix
	}
	return "default"
}

// tail is the words behind a call's own options.
func (o *Options) tail() ([]any, error) {
	var words []any
	if len(o.Block) > 8 {
		return nil, fmt.Errorf("ratelimit: Block: expected up to 8 durations, got %d", len(o.Block))
	}
	for i, block := range o.Block {
		if i == 0 {
			words = append(words, "BLOCK")
		}
		if err := checkDuration(fmt.Sprintf("Block[%d]", i), block); err != nil {
			return nil, err
		}
		words = append(words, block)
	}
	policies, err := policyWords(o.Policies)
	return append(words, policies...), err
}

func policyWords(names []string) ([]any, error) {
	if len(names) > 4 {
		return nil, fmt.Errorf("ratelimit: Policies: expected up to 4, got %d", len(names))
	}
	var words []any
	for _, name := range names {
		if name == "" {
			return nil, fmt.Errorf("ratelimit: Policies: expected names, got an empty one")
		}
		words = append(words, "POLICY", name)
	}
	return words, nil
}

func (o *Options) reach() (reach, error) {
	return newReach(o.name(), o.Timeout, o.Unavailable, len(o.Block) > 0, o.OnError, o.Observe)
}

// reach is what is done about a server that does not answer.
type reach struct {
	timeout time.Duration
	open    bool
	report  *reporter
	observe func(Verdict, time.Duration)
}

func newReach(
	name string, timeout time.Duration, unavailable Unavailable, guarded bool, onError func(error, int), observe func(Verdict, time.Duration),
) (reach, error) {
	if timeout < 0 {
		return reach{}, fmt.Errorf("ratelimit: Timeout: expected a positive duration, got %s", timeout)
	}
	if timeout == 0 {
		timeout = time.Second
	}
	if unavailable < Default || unavailable > Closed {
		return reach{}, fmt.Errorf("ratelimit: Unavailable: expected Open or Closed, got %d", unavailable)
	}
	if onError == nil {
		onError = func(err error, count int) {
			slog.Warn("rate limiter: the server could not be asked", "limiter", name, "reason", ReasonOf(err), "error", err, "count", count)
		}
	}
	open := unavailable == Open || unavailable == Default && !guarded
	return reach{timeout, open, &reporter{tell: onError}, observe}, nil
}
