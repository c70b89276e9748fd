// Interop is gRPC's own interoperability suite as one small program, so that its
// server can stand behind a tunnel and its client in front of it:
//
//	interop server        prints its port; plain HTTP/2, until standard input ends
//	interop cases         prints the cases
//	interop client -addr HOST:PORT [-authority NAME] [-ca FILE] CASE...
//
// With -ca the client speaks TLS, else HTTP/2 with prior knowledge. A case that
// fails ends the program with its reason, because that is what the suite does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

type testCase struct {
	name string
	run  func(ctx context.Context, cc *grpc.ClientConn)
}

// cases are those of the suite that need nothing but a connection.
var cases = []testCase{
	{"empty_unary", with(interop.DoEmptyUnaryCall)},
	{"large_unary", with(interop.DoLargeUnaryCall)},
	{"client_streaming", with(interop.DoClientStreaming)},
	{"server_streaming", with(interop.DoServerStreaming)},
	{"ping_pong", with(interop.DoPingPong)},
	{"empty_stream", with(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", with(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", with(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", with(interop.DoCancelAfterFirstResponse)},
	{"status_code_and_message", with(interop.DoStatusCodeAndMessage)},
	{"special_status_message", with(interop.DoSpecialStatusMessage)},
	{"custom_metadata", with(interop.DoCustomMetadata)},
	{"unimplemented_method", interop.DoUnimplementedMethod},
	{"unimplemented_service", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	}},
}

func with(run func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *grpc.ClientConn) {
	return func(ctx context.Context, cc *grpc.ClientConn) { run(ctx, testgrpc.NewTestServiceClient(cc)) }
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: interop server | interop client -addr HOST:PORT CASE...")
	}
	switch os.Args[1] {
	case "server":
		server()
	case "client":
		client(os.Args[2:])
	case "cases": // one a line, for whoever runs them
		for _, c := range cases {
			fmt.Println(c.name)
		}
	default:
		log.Fatalf("interop: no command %q", os.Args[1])
	}
}

func server() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		s.Stop()
	}()
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	if err := s.Serve(l); err != nil {
		log.Fatal(err)
	}
}

func client(args []string) {
	f := flag.NewFlagSet("client", flag.ExitOnError)
	addr := f.String("addr", "", "address to connect to")
	authority := f.String("authority", "", "name to ask for, default the address")
	ca := f.String("ca", "", "PEM file of the CA; without it no TLS")
	_ = f.Parse(args)

	creds := insecure.NewCredentials()
	if *ca != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(*ca, *authority); err != nil {
			log.Fatal(err)
		}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	if *authority != "" {
		options = append(options, grpc.WithAuthority(*authority))
	}
	cc, err := grpc.NewClient("passthrough:///"+*addr, options...)
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
	for _, name := range f.Args() {
		i := slices.IndexFunc(cases, func(c testCase) bool { return c.name == name })
		if i < 0 {
			log.Fatalf("no case %q", name)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		cases[i].run(ctx, cc)
		cancel()
		fmt.Println("ok", name)
	}
}
