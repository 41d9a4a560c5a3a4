package cluster

import (
	"context"
	"fmt"
)

// RestartControllers stops the controllers and starts them again with other arguments, which are appended to the usual ones
// in the place of Config's: a test can begin with few of them, so that what it writes into a status stays there, and let the
// others loose later. It is not for concurrent use, and ControllerManager stays what it was.
func (c *Cluster) RestartControllers(ctx context.Context, args ...string) error {
	c.mu.Lock()
	now := c.ControllerManager
	if c.controllers != nil {
		now = c.controllers
	}
	c.mu.Unlock()
	if err := now.Stop(); err != nil {
		return fmt.Errorf("couldn't stop the controllers: %w", err)
	}
	spec := c.controllerManagerSpec()
	spec.Args = append(spec.Args[:len(spec.Args)-len(c.config.ControllerManagerArgs)], args...)
	c.mu.Lock()
	c.restarts++
	spec.Name = fmt.Sprintf("%s-%d", spec.Name, c.restarts+1)
	c.mu.Unlock()
	p, err := c.Run(ctx, spec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.controllers = p
	c.mu.Unlock()
	return nil
}
