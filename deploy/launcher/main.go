// The first process of the container that holds an agent and its Envoy.
//
//	launcher run COMMAND [ARG...]      starts the agent, starts it again whenever it ends, and reaps every orphan. SIGTERM goes to the agent; when that
//	                                   has ended, so does this, and with it the container.
//	launcher fork LOG BINARY [ARG...]  what the agent forks Envoy with, in place of a shell: prints the pid. The pid becomes BINARY when stdin is closed.
//
// An image without a shell needs the second, and a container needs the first: Envoy asks the kernel to end it together with whoever forked it, so it must
// be the child of a process that never ends before it; and an epoch that has ended stays a zombie until its parent asks for it. The agent may be killed and
// started again as often as need be: its Envoy is the launcher's child and serves on.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const (
	prSetChildSubreaper = 36
	leastPause          = 250 * time.Millisecond
	mostPause           = 5 * time.Second
	// An agent that ran this long was well: the next pause is the least again.
	wellAfter = 10 * time.Second
)

func main() {
	if len(os.Args) < 3 {
		fail("usage: launcher run COMMAND [ARG...] | launcher fork LOG BINARY [ARG...]")
	}
	var err error
	switch os.Args[1] {
	case "run":
		err = run(os.Args[2:])
	case "fork":
		err = fork(os.Args[2:])
	case "become":
		err = become(os.Args[2:])
	default:
		err = fmt.Errorf("there is no command %q", os.Args[1])
	}
	if err != nil {
		fail(err.Error())
	}
}

// run keeps the command running until SIGTERM or SIGINT.
func run(command []string) error {
	// As process 1 orphans come here by themselves; anywhere else this asks for them, so that it can be tried outside a container.
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("cannot become the reaper: %w", errno)
	}
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	deaths := make(chan death)
	children := make(chan struct{}, 1)
	go reap(deaths, children)
	pause := leastPause
	for {
		startedAt := time.Now()
		pid, err := start(command)
		if err != nil {
			return err
		}
		wake(children)
		status, stopping := await(pid, deaths, stop)
		if stopping {
			os.Exit(status.ExitStatus())
		}
		if time.Since(startedAt) > wellAfter {
			pause = leastPause
		}
		fmt.Fprintf(os.Stderr, "{\"process\":\"launcher\",\"msg\":\"the agent ended and is started again\",\"pid\":%d,\"status\":%d,\"pauseMs\":%d}\n", pid, status, pause.Milliseconds())
		if !rest(pause, deaths, stop) {
			return nil
		}
		pause = min(2*pause, mostPause)
	}
}

type death struct {
	pid    int
	status syscall.WaitStatus
}

// reap waits for every child there is, and sleeps while there is none.
func reap(deaths chan<- death, children <-chan struct{}) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			<-children
		default:
			deaths <- death{pid, status}
		}
	}
}

func wake(children chan<- struct{}) {
	select {
	case children <- struct{}{}:
	default:
	}
}

// await returns when this child has ended. A first signal is handed on to it as SIGTERM, a second as SIGKILL.
func await(pid int, deaths <-chan death, stop <-chan os.Signal) (status syscall.WaitStatus, stopping bool) {
	for {
		select {
		case ended := <-deaths:
			if ended.pid == pid {
				return ended.status, stopping
			}
		case <-stop:
			word := syscall.SIGTERM
			if stopping {
				word = syscall.SIGKILL
			}
			stopping = true
			_ = syscall.Kill(pid, word)
		}
	}
}

// rest reaps while it waits; false when it is to stop.
func rest(pause time.Duration, deaths <-chan death, stop <-chan os.Signal) bool {
	timer := time.After(pause)
	for {
		select {
		case <-deaths:
		case <-timer:
			return true
		case <-stop:
			return false
		}
	}
}

func start(command []string) (int, error) {
	pid, err := syscall.ForkExec(command[0], command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", command[0], err)
	}
	return pid, nil
}

// fork starts a process of its own session that will become the binary, and prints its pid.
func fork(words []string) error {
	if len(words) < 2 {
		return errors.New("fork: a log and a binary are needed")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	syscall.Umask(0o077)
	log, err := os.OpenFile(words[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	// The name tells whoever looks at the process table that this is none yet.
	argv := append([]string{"envoy-launcher", "become"}, words...)
	pid, err := syscall.ForkExec(self, argv, &syscall.ProcAttr{Files: []uintptr{0, log.Fd(), log.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(strconv.Itoa(pid) + "\n")
	return err
}

// become waits for the end of stdin, which comes when the agent has seen its fork end, or has died; then this process has the reaper for its parent.
func become(words []string) error {
	if len(words) < 2 {
		return errors.New("become: a log and a binary are needed")
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	if err := syscall.Dup3(int(null.Fd()), 0, 0); err != nil {
		return err
	}
	// The environment is empty on purpose: a header value can read Envoy's environment (%ENVIRONMENT(X)%).
	return syscall.Exec(words[1], words[1:], nil)
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, "launcher: "+message)
	os.Exit(1)
}
