// Package gin puts a limiter in front of Gin's handlers.
package gin

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"ratelimit"
)

// Middleware is ratelimit.Middleware as Gin has it. For what it skips by status, register it before what answers errors.
func Middleware(m ratelimit.Middleware) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Next()
			if recorder, ok := w.(interface{ Note(status int) }); ok {
				recorder.Note(c.Writer.Status())
			}
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}
