/*
 * Prints records through the system's libtraceevent, for comparison with our own renderer.
 *
 * stdin:  repeated { u32 system bytes, u32 format bytes, u32 record count, system, format,
 *                    count * { u32 record bytes, record } }, little-endian
 * arguments: libtraceevent plugins (.so files) that add functions
 * stdout: per record { u32 text bytes or 0xffffffff when there is none, text }
 *
 * One child process per event, since libtraceevent may crash on what a format makes it do. The library
 * is loaded by name, so that no header package is needed; the structures are its ABI (version 1).
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct trace_seq {
	char *buffer;
	unsigned int buffer_size, len, readpos;
	int state;
};

struct tep_record {
	unsigned long long ts, offset;
	long long missed_events;
	int record_size, size;
	void *data;
	int cpu, ref_count, locked;
	void *priv;
	void *spare[4];
};

typedef char *(*resolver_fn)(void *priv, unsigned long long *address, char **module);

static void *(*tep_alloc)(void);
static void (*tep_set_long_size)(void *, int);
static void (*tep_set_page_size)(void *, int);
static void (*tep_set_local_bigendian)(void *, int);
static void (*tep_set_file_bigendian)(void *, int);
static int (*tep_parse_event)(void *, const char *, unsigned long, const char *);
static void (*tep_print_event)(void *, struct trace_seq *, struct tep_record *, const char *, ...);
static int (*tep_set_function_resolver)(void *, resolver_fn, void *);
static void (*trace_seq_init)(struct trace_seq *);
static int (*trace_seq_terminate)(struct trace_seq *);

/* Kernel text is sym_<page>, anything else has no name: as the test's own resolver says. */
static char *resolve(void *priv, unsigned long long *address, char **module)
{
	static char name[32];

	(void)priv;
	*module = NULL;
	if (*address < 0xffffffff81000000ULL || *address >= 0xffffffff82000000ULL)
		return NULL;
	*address &= ~0xfffULL;
	snprintf(name, sizeof(name), "sym_%llx", *address & 0xffffff);
	return name;
}

static void load(void)
{
	void *lib = dlopen("libtraceevent.so.1", RTLD_NOW | RTLD_GLOBAL);

	if (!lib)
		exit(3);
#define SYMBOL(name) do { *(void **)&name = dlsym(lib, #name); if (!name) exit(3); } while (0)
	SYMBOL(tep_alloc);
	SYMBOL(tep_set_long_size);
	SYMBOL(tep_set_page_size);
	SYMBOL(tep_set_local_bigendian);
	SYMBOL(tep_set_file_bigendian);
	SYMBOL(tep_parse_event);
	SYMBOL(tep_print_event);
	SYMBOL(tep_set_function_resolver);
	SYMBOL(trace_seq_init);
	SYMBOL(trace_seq_terminate);
}

static void read_all(void *data, size_t bytes)
{
	if (bytes && fread(data, bytes, 1, stdin) != 1)
		exit(0);
}

static void put(const char *text, unsigned int bytes)
{
	fwrite(&bytes, 4, 1, stdout);
	if (bytes != 0xffffffff)
		fwrite(text, bytes, 1, stdout);
}

static char **plugins;

/* A plugin adds its functions, and its printers of known events. */
static void load_plugins(void *tep)
{
	for (char **path = plugins; *path; path++) {
		void *plugin = dlopen(*path, RTLD_NOW | RTLD_GLOBAL);
		int (*loader)(void *) = plugin ? (int (*)(void *))dlsym(plugin, "tep_plugin_loader") : NULL;
		if (!loader || loader(tep))
			_exit(5);
	}
}

static int print_records(int mark_fd, char *system_name, char *format, unsigned int format_bytes,
			 unsigned int count, char **records, unsigned int *sizes)
{
	void *tep = tep_alloc();
	unsigned int i;

	tep_set_long_size(tep, 8);
	tep_set_page_size(tep, 4096);
	tep_set_local_bigendian(tep, 0);
	tep_set_file_bigendian(tep, 0);
	tep_set_function_resolver(tep, resolve, NULL);
	load_plugins(tep);
	tep_parse_event(tep, format, format_bytes, system_name);
	for (i = 0; i < count; i++) {
		struct tep_record record = { .size = sizes[i], .record_size = sizes[i], .data = records[i] };
		struct trace_seq seq;

		trace_seq_init(&seq);
		tep_print_event(tep, &seq, &record, "%s", "INFO");
		trace_seq_terminate(&seq);
		put(seq.buffer, strlen(seq.buffer));
		fflush(stdout);
		if (write(mark_fd, ".", 1) != 1)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int head[3];

	(void)argc;
	plugins = argv + 1;
	load();
	while (fread(head, sizeof(head), 1, stdin) == 1) {
		char *system_name = calloc(1, head[0] + 1);
		char *format = calloc(1, head[1] + 1);
		char **records = calloc(head[2], sizeof(char *));
		unsigned int *sizes = calloc(head[2], sizeof(unsigned int));
		unsigned int i, done = 0;
		int pipe_fd[2], status;
		char mark;
		pid_t child;

		read_all(system_name, head[0]);
		read_all(format, head[1]);
		for (i = 0; i < head[2]; i++) {
			read_all(&sizes[i], 4);
			records[i] = calloc(1, sizes[i] + 4096);
			read_all(records[i], sizes[i]);
		}
		fflush(stdout);
		if (pipe(pipe_fd))
			return 4;
		child = fork();
		if (child == 0) {
			/* One byte into the pipe per printed record; warnings go nowhere. */
			if (!freopen("/dev/null", "w", stderr))
				_exit(1);
			close(pipe_fd[0]);
			_exit(print_records(pipe_fd[1], system_name, format, head[1], head[2], records,
					    sizes));
		}
		close(pipe_fd[1]);
		while (read(pipe_fd[0], &mark, 1) == 1)
			done++;
		close(pipe_fd[0]);
		waitpid(child, &status, 0);
		for (; done < head[2]; done++)
			put(NULL, 0xffffffff);
		fflush(stdout);
		for (i = 0; i < head[2]; i++)
			free(records[i]);
		free(records);
		free(sizes);
		free(format);
		free(system_name);
	}
	return 0;
}
