/* io_uring by its system calls: no operation, reads, a poll that is cancelled, timeouts, links, a bad request. */
#include "poke.h"
#include <linux/io_uring.h>
#include <poll.h>

#define ENTRIES 8

struct ring {
	int fd;
	char *rings;
	struct io_uring_sqe *requests;
	struct io_uring_params params;
};

static void queue(struct ring *ring, const struct io_uring_sqe *request)
{
	unsigned *tail = (unsigned *)(ring->rings + ring->params.sq_off.tail);
	unsigned *array = (unsigned *)(ring->rings + ring->params.sq_off.array);
	unsigned index = *tail & (ring->params.sq_entries - 1);

	ring->requests[index] = *request;
	array[index] = index;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
}

static void submit(struct ring *ring, const struct io_uring_sqe *request)
{
	int is_linked = (request->flags & IOSQE_IO_LINK) != 0;

	queue(ring, request);
	/* A link is submitted together with what it is linked to. */
	if (!is_linked)
		TRY(syscall(SYS_io_uring_enter, ring->fd, 2, 0, IORING_ENTER_GETEVENTS, NULL, 0));
}

void poke_uring(void)
{
	struct ring ring = { .params = { .flags = IORING_SETUP_CQSIZE, .cq_entries = 16 } };
	struct __kernel_timespec soon = { 0, 2000000 };
	char buffer[512];
	int pipes[2], file = open("/etc/passwd", O_RDONLY), null = open("/dev/null", O_WRONLY);

	TRY(pipe(pipes));
	ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &ring.params);
	if (ring.fd < 0)
		return;
	size_t bytes = ring.params.cq_off.cqes + ring.params.cq_entries * sizeof(struct io_uring_cqe);
	ring.rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	ring.requests = mmap(NULL, ENTRIES * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
			     IORING_OFF_SQES);
	if (ring.rings == MAP_FAILED || ring.requests == MAP_FAILED)
		return;
	int files[2] = { file, null };
	TRY(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, files, 2));
	const struct io_uring_sqe requests[] = {
		{ .opcode = IORING_OP_NOP, .user_data = 1 },
		{ .opcode = IORING_OP_READ, .fd = file, .addr = (uintptr_t)buffer, .len = 100, .user_data = 2 },
		{ .opcode = IORING_OP_READ, .flags = IOSQE_ASYNC, .fd = file, .addr = (uintptr_t)buffer, .len = 64 },
		{ .opcode = IORING_OP_WRITE, .fd = null, .addr = (uintptr_t)buffer, .len = 64, .user_data = 4 },
		{ .opcode = IORING_OP_POLL_ADD, .fd = pipes[0], .poll_events = POLLIN, .user_data = 5 },
		{ .opcode = IORING_OP_POLL_REMOVE, .addr = 5, .user_data = 6 },
		{ .opcode = IORING_OP_POLL_ADD, .fd = pipes[0], .poll_events = POLLIN, .user_data = 7 },
		{ .opcode = IORING_OP_TIMEOUT, .addr = (uintptr_t)&soon, .len = 1, .user_data = 8 },
		{ .opcode = IORING_OP_READ, .flags = IOSQE_IO_LINK, .fd = -1, .addr = 8, .len = 8, .user_data = 9 },
		{ .opcode = IORING_OP_NOP, .user_data = 10 },
		{ .opcode = IORING_OP_READ, .fd = pipes[0], .addr = (uintptr_t)buffer, .len = 1, .user_data = 11 },
		{ .opcode = 250, .user_data = 12 },
		{ .opcode = IORING_OP_FSYNC, .fd = file, .user_data = 13 },
		{ .opcode = IORING_OP_ASYNC_CANCEL, .addr = 11, .user_data = 14 },
	};
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		submit(&ring, &requests[i]);
	TRY(write(pipes[1], "x", 1));
	nap(5);
	TRY(syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	/* More completions than the queue holds. */
	for (int i = 0; i < 24; i++)
		submit(&ring, &requests[0]);
	close(ring.fd);
}
