package cluster

import (
	"context"
	"fmt"
	"time"
)

// Eventually calls condition until it returns nil, and then returns nil at once. It gives up when timeout has passed or
// ctx is done, with the last error of condition. The first call is immediate; the pause between calls grows from 20 to
// 250 milliseconds, so that what is quick is seen quickly and what is slow is not disturbed.
func Eventually(ctx context.Context, timeout time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begin := time.Now()
	pause := 20 * time.Millisecond
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still failing after %s: %w", time.Since(begin).Round(time.Millisecond), err)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 250*time.Millisecond)
	}
}
