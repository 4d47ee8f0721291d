"""What a script imports of the package until it has shown its help."""

PROGRAM = """
import contextlib, io, json, os, runpy, sys
sys.path.insert(0, "src")
told = {}
for line in sys.stdin:
    script, *flags = line.split()
    for name in [n for n in sys.modules if n.split(".")[0] == "compression_order"]:
        del sys.modules[name]
    sys.argv = [script, *flags, "--help"]
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    ours = [m for n, m in sys.modules.items() if n.split(".")[0] == "compression_order"]
    files = [os.path.relpath(m.__file__) for m in ours]
    told[line.strip()] = {"files": files, "help": page.getvalue()}
json.dump(told, sys.stdout)
"""
