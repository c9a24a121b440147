// The loop of cluster.py, through go-redis' cluster client.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	background := context.Background()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + os.Getenv("RATELIMIT_CLUSTER_PORT")}})
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var call struct{ Words []any }
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			panic(err)
		}
		command := redis.NewCmd(background, call.Words...)
		command.SetFirstKeyPos(2)
		answer := map[string]any{}
		if err := cluster.Process(background, command); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["reply"] = command.Val()
		}
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
}
