package ratelimit

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	limitField     = "X-RateLimit-Limit"
	remainingField = "X-RateLimit-Remaining"
	resetField     = "X-RateLimit-Reset"
	policyField    = "RateLimit-Policy"
	stateField     = "RateLimit"
	exposedField   = "Access-Control-Expose-Headers"
)

// What pages of other origins may read.
const exposed = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit-Policy, RateLimit, Retry-After"

// SetHeaders writes a verdict as fields of HTTP: X-RateLimit-*, Retry-After, and RateLimit and RateLimit-Policy of the
// IETF draft "RateLimit header fields for HTTP", which are lists, one item a limit. Where another limiter in front of the
// same handler has written some already, its items stay, and X-RateLimit-* are those of which less remains.
func SetHeaders(header http.Header, verdict Verdict) {
	setHeaders(header, verdict, time.Now())
}

func setHeaders(header http.Header, verdict Verdict, now time.Time) {
	if verdict.Err != nil { // no numbers are known
		if !verdict.Allowed {
			header.Set("Retry-After", "1")
		}
		return
	}
	var policies, states []string
	for _, one := range verdict.Limits {
		name := quoted(one.Name)
		policy := fmt.Sprintf("%s;q=%d", name, one.Limit)
		if one.WindowSeconds > 0 {
			policy += fmt.Sprintf(";w=%d", one.WindowSeconds)
		}
		policies = append(policies, policy)
		state := fmt.Sprintf("%s;r=%d", name, one.Remaining)
		if one.NextAfter >= 0 { // else it never comes, or nobody has asked
			state += fmt.Sprintf(";t=%d", seconds(one.NextAfter))
		}
		states = append(states, state)
	}
	if written, err := strconv.ParseInt(header.Get(remainingField), 10, 64); err != nil || verdict.Remaining < written {
		header.Set(limitField, strconv.FormatInt(verdict.Limit, 10))
		header.Set(remainingField, strconv.FormatInt(verdict.Remaining, 10))
		header.Set(resetField, strconv.FormatInt((now.Add(verdict.ResetAfter).UnixMilli()+999)/1000, 10)) // Unix time
	}
	join(header, policyField, policies)
	join(header, stateField, states)
	// Negative: there is no use in trying again.
	if !verdict.Allowed && verdict.RetryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(seconds(verdict.RetryAfter), 10))
	}
}

func join(header http.Header, field string, items []string) {
	if written := header.Get(field); written != "" {
		items = append([]string{written}, items...)
	}
	header.Set(field, strings.Join(items, ", "))
}

func expose(header http.Header) {
	for _, written := range header.Values(exposedField) {
		if written == exposed {
			return
		}
	}
	header.Add(exposedField, exposed)
}

func quoted(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// Rounded up: never an invitation to come too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
