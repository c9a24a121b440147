// One row of Go's: `peers ROW`.
package main

import (
	"os"

	"ratelimit-peers/worker"
)

func main() {
	row := rows[os.Args[1]]
	if row == nil {
		panic("no such row: " + os.Args[1])
	}
	worker.Run(row, worker.Process{CPUSeconds: worker.CPUSeconds})
}
