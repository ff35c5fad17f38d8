/* Sockets over loopback and veth0 -> veth1: tcp with resets and closes, udp, icmp errors, raw, unix, mptcp, vsock. */
#include "poke.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_vm vm;
};

static socklen_t loopback(union address *address, int family)
{
	memset(address, 0, sizeof(*address));
	address->any.sa_family = family;
	if (family == AF_INET) {
		address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(address->v4);
	}
	address->v6.sin6_addr = in6addr_loopback;
	return sizeof(address->v6);
}

/* A connection, some data both ways, and an end: 0 orderly, 1 with a reset, 2 with unread data. */
static void poke_stream(int family, int protocol, int end)
{
	union address address;
	socklen_t bytes = loopback(&address, family);
	struct linger abrupt = { 1, 0 };
	char data[4096] = { 1 };
	int one = 1, small = 4096;
	int listener = socket(family, SOCK_STREAM, protocol), client, server;

	if (listener < 0)
		return;
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	TRY(bind(listener, &address.any, bytes));
	TRY(listen(listener, 1));
	getsockname(listener, &address.any, &bytes);
	client = socket(family, SOCK_STREAM, protocol);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(client, &address.any, bytes) == 0) {
		server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
		fcntl(client, F_SETFL, O_NONBLOCK);
		TRY(send(client, "hello", 5, 0));
		TRY(recv(server, data, sizeof(data), 0));
		/* Until both buffers are full. */
		for (int i = 0; i < 40; i++)
			if (send(client, data, sizeof(data), MSG_DONTWAIT) < 0)
				break;
		nap(2);
		while (end == 0 && recv(server, data, sizeof(data), 0) > 0)
			;
		if (end == 1)
			setsockopt(server, SOL_SOCKET, SO_LINGER, &abrupt, sizeof(abrupt));
		shutdown(client, SHUT_WR);
		close(server);
		nap(1);
	}
	close(client);
	close(listener);
	/* Nobody listens there any more. */
	client = socket(family, SOCK_STREAM, protocol);
	TRY(connect(client, &address.any, bytes));
	close(client);
}

static void poke_datagrams(int family)
{
	union address address;
	socklen_t bytes = loopback(&address, family);
	int tiny = 1, receiver = socket(family, SOCK_DGRAM, 0), sender = socket(family, SOCK_DGRAM, 0);
	char data[1500] = { 2 };

	TRY(bind(receiver, &address.any, bytes));
	getsockname(receiver, &address.any, &bytes);
	TRY(sendto(sender, data, 100, 0, &address.any, bytes));
	TRY(recv(receiver, data, sizeof(data), 0));
	/* More than the receiver's buffer takes. */
	setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof(tiny));
	for (int i = 0; i < 10; i++)
		TRY(sendto(sender, data, sizeof(data), 0, &address.any, bytes));
	close(receiver);
	TRY(sendto(sender, data, 100, 0, &address.any, bytes));
	nap(1);
	TRY(sendto(sender, data, 100, 0, &address.any, bytes));
	close(sender);
}

/* To neighbours that exist (10.99.0.2 behind veth) and that do not. */
static void poke_wire(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	static const char *const peers[] = { "10.99.0.2", "10.99.0.77", "203.0.113.5" };
	char data[9000] = { 3 };
	int one = 1, sender = socket(AF_INET, SOCK_DGRAM, 0), packet = socket(AF_PACKET, SOCK_RAW, 0);

	setsockopt(sender, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	for (unsigned i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		inet_pton(AF_INET, peers[i], &to.sin_addr);
		TRY(sendto(sender, data, 100, 0, (struct sockaddr *)&to, sizeof(to)));
		TRY(sendto(sender, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)));
	}
	struct sockaddr_ll link = { .sll_family = AF_PACKET,
				    .sll_ifindex = (int)if_nametoindex("veth0"),
				    .sll_halen = 6,
				    .sll_protocol = htons(0x88b5) };
	memset(link.sll_addr, 0xff, 6);
	memset(data, 0xff, 12);
	data[12] = (char)0x88;
	data[13] = (char)0xb5;
	for (int i = 0; i < 4; i++)
		TRY(sendto(packet, data, 64 + i * 400, 0, (struct sockaddr *)&link, sizeof(link)));
	close(packet);
	close(sender);
}

static void poke_local(void)
{
	int pair[2];
	char byte;
	union address address = { .vm = { .svm_family = AF_VSOCK, .svm_cid = 1, .svm_port = 1234 } };

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
		TRY(send(pair[0], "x", 1, 0));
		TRY(recv(pair[1], &byte, 1, 0));
		close(pair[0]);
		close(pair[1]);
	}
	int vsock = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (vsock >= 0) {
		TRY(connect(vsock, &address.any, sizeof(address.vm)));
		close(vsock);
	}
}

void poke_net(void)
{
	for (int end = 0; end < 3; end++) {
		poke_stream(AF_INET, 0, end);
		poke_stream(AF_INET6, 0, end);
		poke_stream(AF_INET, IPPROTO_MPTCP, end);
	}
	poke_datagrams(AF_INET);
	poke_datagrams(AF_INET6);
	poke_wire();
	poke_local();
}

/* Requests that the kernel refuses with a text (netlink_extack). */
void poke_netlink(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} request = { { sizeof(request), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0 },
		      { .ifi_family = AF_UNSPEC, .ifi_index = 99999 } };
	char answer[4096];
	int one = 1, fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	TRY(send(fd, &request, sizeof(request), 0));
	TRY(recv(fd, answer, sizeof(answer), MSG_DONTWAIT));
	request.head.nlmsg_type = RTM_GETROUTE;
	request.head.nlmsg_len = 17;
	TRY(send(fd, &request, sizeof(request), 0));
	TRY(recv(fd, answer, sizeof(answer), MSG_DONTWAIT));
	close(fd);
}
