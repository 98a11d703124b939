# Runs one program inside the box and reports every step to the supervisor.
#
# A trusted launcher process forks; the child runs the program, the launcher waits for it and reports its wait status,
# which the box itself would blur into an exit code. Commands come on one pipe, reports go out on another:
#   command: token (16 bytes), kind (1 byte), length (4 bytes, little endian), text
#   report:  token of the command, length, verdict name, NUL, detail
# Only what an interpreter without site has loaded already is imported, so that a start stays cheap.

# A program may rebind builtins; the functions below keep a copy of their own.
__builtins__ = dict(vars(__builtins__))


def main():
    import builtins
    import posix
    import sys
    import _signal

    commands, results, status, process_limit = [int(word) for word in sys.argv[1:5]]
    if process_limit:
        import resource
        resource.setrlimit(resource.RLIMIT_NPROC, (process_limit, process_limit))

    child = posix.fork()
    if child:
        posix.close(commands)
        posix.close(results)
        wait_status = posix.waitpid(child, 0)[1]
        posix.write(status, wait_status.to_bytes(4, "little"))
        posix._exit(0)
    posix.close(status)
    # Ignored so far, to keep the box alive when a job is signalled. A program sees the usual defaults.
    for number in (_signal.SIGHUP, _signal.SIGTERM, _signal.SIGUSR1, _signal.SIGUSR2):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)

    def receive(count):
        data = b""
        while len(data) < count:
            piece = posix.read(commands, min(count - len(data), 1 << 20))
            if not piece:
                posix._exit(97)
            data += piece
        return data

    def next_command():
        header = receive(21)
        return header[:16], header[16:17], receive(int.from_bytes(header[17:], "little"))

    def report(token, verdict, detail=b""):
        payload = verdict + b"\0" + detail
        frame = token + len(payload).to_bytes(4, "little") + payload
        while frame:
            frame = frame[posix.write(results, frame):]

    def describe(error):
        try:
            text = str(error)
            name = type(error).__name__
            return f"{name}: {text}"[:1000].encode("utf-8", "backslashreplace") if text else name.encode()
        except BaseException:
            return b"an exception that cannot be printed"

    def classify(error):
        for verdict, classes in (
            (b"memory", MemoryError),
            (b"early_exit", SystemExit),
            (b"wrong", AssertionError),
            (b"syntax", SyntaxError),
            (b"name", (NameError, AttributeError)),
            (b"type", TypeError),
        ):
            if isinstance(error, classes):
                return verdict
        return b"runtime"

    output_streams = (sys.stdout, sys.stderr)

    def flush():
        for stream in output_streams:
            try:
                stream.flush()
            except BaseException:
                pass  # closed or broken by the program, which may do so

    def run(text, name, namespace):
        try:
            code = compile(text, name, "exec", dont_inherit=True)
        except BaseException as error:
            # Nesting too deep shows as MemoryError or RecursionError, a NUL byte as ValueError.
            return b"syntax", describe(error)
        try:
            exec(code, namespace)
        except BaseException as error:
            return classify(error), describe(error)
        return b"passed", b""

    # The program's module. `__main__` must not lead to this file's names, pickle and dataclasses look modules up by name.
    module = type(sys)("program")
    namespace = module.__dict__
    namespace["__builtins__"] = builtins
    namespace["__file__"] = "program.py"
    sys.modules["program"] = sys.modules["__main__"] = module
    sys.argv[:] = ["program.py"]
    if sys.path and sys.path[0] == "":  # before 3.11 there is no option -P
        del sys.path[0]
    builtins.exit = builtins.quit = sys.exit  # site would define them
    sys.setrecursionlimit(sys.getrecursionlimit() + 3)  # the frames of this file
    reserve = bytearray(1 << 20)  # given back so that a report can be made after memory ran out

    try:
        token, kind, text = next_command()
        report(token, b"passed")
        token, kind, text = next_command()
        if kind == b"s":
            namespace["__name__"] = "__main__"
            exec(compile(text, "script.py", "exec", dont_inherit=True), namespace)
            return
        names = {b"p": "program.py", b"u": "setup", b"t": "test"}
        while True:
            verdict, detail = run(text, names[kind], namespace)
            if verdict == b"memory":
                reserve = None
            flush()
            report(token, verdict, detail)
            token, kind, text = next_command()
    except MemoryError:
        if kind == b"s":
            raise
        posix._exit(98)


main()
