/* BPF programs of a few instructions: test runs, XDP on veth1 with each verdict, trace_printk. */
#include "poke.h"
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int load(enum bpf_prog_type type, const struct bpf_insn *code, unsigned count)
{
	union bpf_attr attr = { .prog_type = type, .insns = (uintptr_t)code, .insn_cnt = count,
				.license = (uintptr_t) "GPL" };
	return bpf(BPF_PROG_LOAD, &attr);
}

/* return VERDICT */
static int load_verdict(enum bpf_prog_type type, int verdict)
{
	struct bpf_insn code[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = verdict },
				   { .code = BPF_JMP | BPF_EXIT } };
	return load(type, code, 2);
}

static void test_run(int program)
{
	char packet[128] = { 0 };
	union bpf_attr attr = { .test = { .prog_fd = (unsigned)program, .data_in = (uintptr_t)packet,
					  .data_size_in = sizeof(packet), .repeat = 2 } };
	bpf(BPF_PROG_TEST_RUN, &attr);
}

/* "poke" on the stack, then bpf_trace_printk(text, 5) */
static void trace_text(void)
{
	int32_t text;
	memcpy(&text, "poke", 4);
	struct bpf_insn code[] = {
		{ .code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = 10, .off = -8, .imm = 0 },
		{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .off = -8, .imm = text },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 5 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_trace_printk },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int program = load(BPF_PROG_TYPE_SCHED_CLS, code, 8);
	if (program >= 0) {
		test_run(program);
		close(program);
	}
}

void poke_bpf(void)
{
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 8, .max_entries = 4 };
	int fd = bpf(BPF_MAP_CREATE, &map);

	if (fd >= 0)
		close(fd);
	trace_text();
	/* XDP_ABORTED .. XDP_REDIRECT: an aborted packet and a redirection to nowhere are exceptions. */
	for (int verdict = 0; verdict <= 4; verdict++) {
		union bpf_attr link = { 0 };
		int program = load_verdict(BPF_PROG_TYPE_XDP, verdict);
		if (program < 0)
			continue;
		test_run(program);
		link.link_create.prog_fd = (unsigned)program;
		link.link_create.target_ifindex = if_nametoindex("veth1");
		link.link_create.attach_type = BPF_XDP;
		fd = bpf(BPF_LINK_CREATE, &link);
		if (fd >= 0) {
			/* While others send to 10.99.0.2. */
			nap(60);
			poke_netlink();
			close(fd);
		}
		close(program);
	}
}
