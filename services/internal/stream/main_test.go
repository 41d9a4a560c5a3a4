package stream_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
	"github.com/headwater-metrics/headwater/services/internal/stream/embedded"
	"github.com/headwater-metrics/headwater/services/internal/testenv"
)

// The test binary, run again with these, is a NATS server of its own, which tests can kill -9.
const (
	serverDir     = "HEADWATER_TEST_NATS_DIR"
	serverAddress = "HEADWATER_TEST_NATS_ADDRESS"
	// The largest file that the server can write, until it gets SIGUSR1: as good as a full disk.
	serverFileLimit = "HEADWATER_TEST_NATS_FILE_LIMIT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverDir); dir != "" {
		serve(dir, os.Getenv(serverAddress))
		return
	}
	os.Exit(m.Run())
}

func serve(dir, address string) {
	if limit, err := strconv.ParseUint(os.Getenv(serverFileLimit), 10, 64); err == nil {
		limitFiles(limit)
	}
	s, err := embedded.Start(embedded.Config{Dir: dir, Address: address})
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	s.Close()
}

// limitFiles makes writes beyond a size fail until the signal comes.
func limitFiles(size uint64) {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: limit.Max})
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	free := make(chan os.Signal, 1)
	signal.Notify(free, syscall.SIGUSR1)
	go func() {
		<-free
		syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
	}()
}

// process is a NATS server in a process of its own, always on the same port and directory.
type process struct {
	t       testing.TB
	dir     string
	address string
	limit   int       // of a file; 0 for none
	cmd     *exec.Cmd // nil while it does not run
}

// newProcess chooses a directory and a free port; start runs the server.
func newProcess(t testing.TB) *process {
	p := &process{t: t, dir: t.TempDir(), address: testenv.Address(t)}
	t.Cleanup(p.kill)
	return p
}

func (p *process) config() stream.ConnConfig {
	return stream.ConnConfig{URL: "nats://" + p.address, Name: p.t.Name(), Log: testenv.Logger(p.t)}
}

func (p *process) connect() *stream.Conn {
	return connect(p.t, p.config())
}

func connect(t testing.TB, cfg stream.ConnConfig) *stream.Conn {
	t.Helper()
	c, err := stream.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// start runs the server and returns when it is ready. A port that another process has taken meanwhile is waited for.
func (p *process) start() {
	p.t.Helper()
	testenv.Eventually(p.t, 30*time.Second, func() error {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), serverDir+"="+p.dir, serverAddress+"="+p.address)
		if p.limit > 0 {
			cmd.Env = append(cmd.Env, serverFileLimit+"="+strconv.Itoa(p.limit))
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		if line != "ready\n" {
			cmd.Process.Kill()
			cmd.Wait()
			return fmt.Errorf("the server says %q", line)
		}
		p.cmd = cmd
		return nil
	})
}

// kill is kill -9: nothing is flushed, nobody is told.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// stop lets the server end in an orderly way.
func (p *process) stop() { p.end(syscall.SIGTERM) }

func (p *process) signal(s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) end(s syscall.Signal) {
	if p.cmd != nil {
		p.cmd.Process.Signal(s)
		p.cmd.Wait()
		p.cmd = nil
	}
}
