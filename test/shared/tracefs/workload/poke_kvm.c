/*
 * A virtual machine of one vCPU that runs a few bytes of 16-bit code: port and memory accesses, cpuid, rdtsc, hlt, an
 * interrupt by MSI, timers of the local APIC, an irqfd.
 */
#include "poke.h"
#include <linux/kvm.h>
#include <sys/eventfd.h>

#define CODE_AT 0x1000
#define MEMORY_BYTES 0x10000

static const unsigned char code[] = {
	0xba, 0xf8, 0x03,	      /* mov dx, 0x3f8 */
	0xb0, 'x',		      /* mov al, 'x' */
	0xee,			      /* out dx, al */
	0xec,			      /* in al, dx */
	0x0f, 0xa2,		      /* cpuid */
	0x0f, 0x31,		      /* rdtsc */
	0xb9, 0x10, 0x00,	      /* mov cx, 0x10 */
	0x66, 0xb9, 0x10, 0, 0, 0,    /* mov ecx, 0x10 */
	0x0f, 0x32,		      /* rdmsr */
	0x0f, 0x30,		      /* wrmsr */
	0x0f, 0x20, 0xc0,	      /* mov eax, cr0 */
	0x0f, 0x22, 0xc0,	      /* mov cr0, eax */
	0xb8, 0x00, 0xf0, 0x8e, 0xd8, /* mov ax, 0xf000; mov ds, ax */
	0xa2, 0x00, 0x80,	      /* mov [0x8000], al: beyond memory */
	0xa0, 0x00, 0x80,	      /* mov al, [0x8000] */
	0xfb,			      /* sti */
	0xf4,			      /* hlt */
};

static void run(int vcpu, struct kvm_run *state)
{
	for (int i = 0; i < 20; i++) {
		alarm(1);
		if (ioctl(vcpu, KVM_RUN, 0) != 0)
			break;
		if (state->exit_reason == KVM_EXIT_HLT || state->exit_reason == KVM_EXIT_SHUTDOWN ||
		    state->exit_reason == KVM_EXIT_INTERNAL_ERROR || state->exit_reason == KVM_EXIT_FAIL_ENTRY)
			break;
	}
}

static void poke_machine(int kvm, int with_irqchip)
{
	int machine = ioctl(kvm, KVM_CREATE_VM, 0);
	char *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_BYTES,
						      .flags = KVM_MEM_LOG_DIRTY_PAGES,
						      .userspace_addr = (uintptr_t)memory };
	struct kvm_pit_config pit = { 0 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x4041 };
	struct kvm_irq_level line = { .irq = 4, .level = 1 };

	if (machine < 0)
		return;
	if (with_irqchip) {
		ioctl(machine, KVM_CREATE_IRQCHIP, 0);
		ioctl(machine, KVM_CREATE_PIT2, &pit);
	}
	ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region);
	memcpy(memory + CODE_AT, code, sizeof(code));
	int vcpu = ioctl(machine, KVM_CREATE_VCPU, 0);
	size_t bytes = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *state = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	struct kvm_sregs special;
	struct kvm_regs registers = { .rip = CODE_AT, .rflags = 2, .rsp = 0x8000 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[1];
	} msrs = { { .nmsrs = 1 }, { { .index = 0x10, .data = 123456789 } } };
	struct {
		struct kvm_dirty_log log;
		unsigned char bits[MEMORY_BYTES / 4096];
	} dirty = { .log = { .slot = 0, .dirty_bitmap = dirty.bits } };

	if (state == MAP_FAILED)
		return;
	ioctl(vcpu, KVM_GET_SREGS, &special);
	special.cs.base = 0;
	special.cs.selector = 0;
	ioctl(vcpu, KVM_SET_SREGS, &special);
	ioctl(vcpu, KVM_SET_REGS, &registers);
	ioctl(vcpu, KVM_SET_MSRS, &msrs);
	for (int level = 1; level >= 0; level--) {
		line.level = (unsigned)level;
		ioctl(machine, KVM_IRQ_LINE, &line);
		ioctl(machine, KVM_SIGNAL_MSI, &msi);
	}
	ioctl(vcpu, KVM_NMI, 0);
	ioctl(vcpu, KVM_SMI, 0);
	struct kvm_irqfd request = { .fd = (unsigned)eventfd(0, 0), .gsi = 5 };
	uint64_t one = 1;
	ioctl(machine, KVM_IRQFD, &request);
	TRY(write((int)request.fd, &one, 8));
	nap(1);
	run(vcpu, state);
	ioctl(machine, KVM_GET_DIRTY_LOG, &dirty);
	region.memory_size = 0;
	ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region);
	close(vcpu);
	close(machine);
}

static void woken(int number)
{
	(void)number;
}

void poke_kvm(void)
{
	struct sigaction action = { .sa_handler = woken };
	int kvm = open("/dev/kvm", O_RDWR);

	if (kvm < 0)
		return;
	sigaction(SIGALRM, &action, NULL);
	poke_machine(kvm, 0);
	poke_machine(kvm, 1);
}
