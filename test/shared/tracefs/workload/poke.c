/*
 * poke PART [DIRECTORY]: one part of the workload, in a process of its own. A part that hangs ends with its alarm.
 */
#include "poke.h"

#define PART_SECONDS_MAX 6

int main(int argc, char **argv)
{
	const char *part = argc > 1 ? argv[1] : "";
	const char *directory = argc > 2 ? argv[2] : ".";
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{ "syscalls", poke_syscalls }, { "tasks", poke_tasks },	    { "time", poke_time },
		{ "memory", poke_memory },     { "pressure", poke_pressure }, { "net", poke_net },
		{ "netlink", poke_netlink },   { "bpf", poke_bpf },	    { "uring", poke_uring },
		{ "kvm", poke_kvm },
	};

	alarm(PART_SECONDS_MAX);
	if (strcmp(part, "files") == 0) {
		poke_files(directory);
		return 0;
	}
	if (strcmp(part, "locks") == 0) {
		poke_locks(directory);
		return 0;
	}
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strcmp(part, parts[i].name) == 0) {
			parts[i].run();
			return 0;
		}
	}
	fprintf(stderr, "usage: poke PART [DIRECTORY]\n");
	return 2;
}
