package main

import (
	"net"
	"os"
	"strconv"
	"time"
)

// A notifier tells systemd how the service is, as sd_notify(3) describes it:
// datagrams of assignments to the socket that NOTIFY_SOCKET names. With an empty
// name nobody asked, and nothing is sent.
type notifier struct {
	socket string
}

func newNotifier() *notifier { return &notifier{socket: os.Getenv("NOTIFY_SOCKET")} }

func (n *notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	// A name that begins with @ is in the abstract space; package net knows that.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, err = c.Write([]byte(state))
	return err
}

func (n *notifier) ready() error    { return n.send("READY=1\n") }
func (n *notifier) stopping() error { return n.send("STOPPING=1\n") }

// reloading must name the monotonic time at which it began, for services of
// Type=notify-reload; ready follows when it is over.
func (n *notifier) reloading() error {
	return n.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10) + "\n")
}
