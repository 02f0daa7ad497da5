"""Cells in a real shell: what they open, draw and define, and what the witness sees of it."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

REVIEW = "a review,1"
OPENED = "print(open('/content/drive/MyDrive/a4/train.csv').read())"

IMPORTS = "import os, pdb, psutil, signal, sys, ipdb, IPython"
ENDINGS = (  # the process, as on Colab after an installation; or what replaces it
    *("os._exit(00)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), signal.SIGTERM)", "os.abort()"),
    *("signal.raise_signal(9)", "os.killpg(os.getpgid(0), 9)", "psutil.Process().kill()", "exit()", "quit()"),
    *("os.execv(sys.executable, ['python'])", "psutil.Process(os.getpid()).terminate()"),
)
STOPS = (  # in a debugger, or for a person
    *(
        "breakpoint()",
        "pdb.set_trace()",
        "ipdb.set_trace()",
        "from IPython.core.debugger import set_trace; set_trace()",
    ),
    *("%debug", "pdb.post_mortem()", "IPython.embed()", "pdb.runcall(print, 'called')"),
)
WAITING = (
    *("while True: time.sleep(60)", "while 1:\n    pass", "for _ in range(9): time.sleep(3600)"),
    *("try:\n    while True: time.sleep(1)\nexcept KeyboardInterrupt: pass", "while True:\n    await asyncio.sleep(9)"),
    "while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: break",
)

# Cells, run one after the other, and with what their output ends.
CELLS = {
    "opens": (OPENED, f"{REVIEW}\n"),
    "writes": ("with open('/content/drive/MyDrive/out.txt', 'w') as file: file.write('x')", ""),
    "after reset": (f"%reset -f\n{OPENED}", f"{REVIEW}\n"),
    "widget": ("%matplotlib widget\nprint('below')", "below\n"),
    "unknown": ("%matplotlib something\nprint('below')", "below\n"),
    "inline": ("%matplotlib inline\nprint('below')", "below\n"),
    "attributes that are items": (
        "class Config(dict):\n    __getattr__ = dict.__getitem__\n"
        "configuration = Config(rank=12)\ndef beside_a_dotdict(): ...",
        "",
    ),
    "attributes that are errors": (
        "class Odd:\n    def __getattribute__(self, name): raise KeyError(name)\nodd = Odd()\ndef beside_odd(): ...",
        "",
    ),
    "every attribute": (
        "class Any:\n    def __getattr__(self, name): return self\n    def __eq__(self, other): raise TypeError\n"
        "    def __bool__(self): raise ValueError\nanything = Any()\ndef beside_anything(): ...",
        "",
    ),
    "a class that is odd itself": (
        "class Kind(type):\n    def __getattribute__(cls, name): raise KeyError(name)\n"
        "class Mine(metaclass=Kind): ...\ndef beside_mine(): ...",
        "",
    ),
    "demands a GPU": ("import torch\nassert torch.cuda.is_available(), 'choose a GPU'\nprint('below')", "below\n"),
    "raises without a GPU": (
        "device = 'cuda' if torch.cuda.is_available() else 'cpu'\nassert device == 'cuda'\n"
        "if not torch.cuda.is_available():\n    print('no GPU')\n    raise RuntimeError\nprint('below')",
        "below\n",
    ),
    "a device that is not the CPU": (
        "device = torch.device('cpu')\nassert device.type != 'cpu'\nassert str(device) == 'mps'\n"
        "if str(device) in ('cpu',) or 'cpu' == device.type:\n    raise RuntimeError\nprint('below')",
        "below\n",
    ),
    "a newer Python": (
        "%matplotlib inline\ntype Numbers = dict[str, int]\nd: Numbers = {'a': 1}\n"
        "def beside_new_syntax(): return f'{d['a']}'\nprint(beside_new_syntax(), f\"{'\\n'.join(['x', 'y'])}\")",
        "1 x\ny\n",
    ),
    "demands a folder": (
        "from os.path import isdir\nfrom pathlib import Path\nDATA = Path('/content/drive/MyDrive/a4')\n"
        "assert DATA.is_dir(), 'mount the drive'\nassert isdir('../data') and os.path.isdir(DATA)\n"
        "if not DATA.exists():\n    print('no folder')\n    raise FileNotFoundError(DATA)\n"
        "print(open(DATA / 'train.csv').read())",
        f"no folder\n{REVIEW}\n",
    ),
    "goes on as where the folder is": (
        "import os\nif os.path.isdir('/kaggle/input'):\n    folder = 'kaggle'\nelif os.path.isdir('/content/data'):\n"
        "    folder = 'colab'\nelse:\n    raise FileNotFoundError\n"
        "if not os.path.isdir('x'): print('no x')\nelse: raise FileExistsError\nprint(folder)",
        "no x\ncolab\n",
    ),
    "goes on as where the GPU is": (
        "if torch.cuda.is_available():\n    device = 'cuda'\nelse:\n    raise SystemError\nprint(device)",
        "cuda\n",
    ),
    "other demands": (
        "try:\n    assert 1 == 2\nexcept AssertionError:\n    print('kept')\n"
        "try:\n    if 1 < 2: raise ValueError\nexcept ValueError:\n    print('below')",
        "kept\nbelow\n",
    ),
    "set-up, output of the kind that was asked for": (
        "import subprocess\n"
        "print([subprocess.check_output(['git'], text=True), subprocess.check_output('wget x'),"
        " subprocess.run(['pip', 'install', 'x']).stdout, subprocess.run(['git'], capture_output=True).stderr])",
        "['', b'', None, b'']\n",
    ),
    "used memory of a GPU, as a number": (
        "import os\ncommand = ['nvidia-smi', '--query-gpu=memory.used,memory.total', '--format=csv,noheader,nounits']\n"
        "text = ' '.join(command)\nlines = !{text}\n"
        "found = [subprocess.check_output(command, text=True), subprocess.check_output(text, shell=True).decode(),"
        " subprocess.run(command, capture_output=True, text=True).stdout, subprocess.getoutput(text),"
        " os.popen(text).read(), lines[0]]\n"
        "print({tuple(map(int, one.strip().splitlines()[0].split(','))) for one in found})",
        "{(0, 16384)}\n",
    ),
    "and as tables": (
        "import io, re\nimport pandas as pd\n"
        "text = subprocess.check_output('nvidia-smi --query-gpu=\"name, utilization.gpu\" --format=csv', shell=True)\n"
        "table = !nvidia-smi\nprint(re.search(r'(\\d+)MiB / (\\d+)MiB', table.n).groups())\n"
        "print(pd.read_csv(io.BytesIO(text), skipinitialspace=True).to_dict('records'))",
        "('0', '16384')\n[{'name': 'none', 'utilization.gpu [%]': '0 %'}]\n",
    ),
    "a program that is not here": ("print(subprocess.run(['no-such-program']).returncode)", "0\n"),
    "a library's own program, which copes": (
        "import matplotlib.font_manager as fonts, os\nfound, os.environ['PATH'] = os.environ['PATH'], '/nowhere'\n"
        "fonts._get_fontconfig_fonts.cache_clear()\nprint(fonts._get_fontconfig_fonts())\n"
        "os.environ['PATH'] = found",
        "[]\n",
    ),
    "a module that the notebook wrote": (
        "open('helper.py', 'w').write('import os, subprocess\\ndef go(): return subprocess.call([\"pip\", \"x\"])')\n"
        "import sys; sys.path.insert(0, '.'); import helper\nprint(helper.go(), os.system('apt install x'))",
        "0 0\n",
    ),
    **{f"ends the process: {line}": (f"{IMPORTS}\n{line}\nprint('below')", "below\n") for line in ENDINGS},
    **{f"stops: {line}": (f"{IMPORTS}\n{line}\nprint('below')", "below\n") for line in STOPS},
    "measured: memory": ("%load_ext memory_profiler\n%memit -r 1 print('below')", "below\n"),
    "measured: lines": ("%lprun -f print -u 1e-3 print('below')", "below\n"),
    "measured: memory of lines": ("%mprun -f print print('below')", "below\n"),
    "measured: a cell": ("%%memit\nprint('below')", "below\n"),
    "debugged": ("%%debug\nprint('below')", "below\n"),
    "demands a GPU, or exits": (
        "if not torch.cuda.is_available():\n    sys.exit('no GPU')\n"
        "if torch.cuda.is_available(): device = 'cuda'\nelse:\n    quit()\nprint('below')",
        "below\n",
    ),
    **{f"waits: {line}": (f"import time, asyncio\n{line}\nprint('below')", "below\n") for line in WAITING},
    "leaves its loop": ("n = 0\nwhile True:\n    n += 1\n    time.sleep(0)\n    if n == 3: break\nprint(n)", "3\n"),
    "a window": ("import matplotlib\nmatplotlib.use('TkAgg')\nimport matplotlib.pyplot as plt\nplt.plot([1])", ""),
    "another window": ("plt.switch_backend('Qt5Agg')\nfigure, axis = plt.subplots()\nprint('below')", "below\n"),
    "files of a command": ("names = !ls /content/*.csv\nprint(names.n, names.s, names.grep('x'))", "[]\n"),
    "a folder of a command": ("here = !pwd\nprint(here[0] == os.getcwd(), here.l == [here.n])", "True True\n"),
    "a zip": (
        "import zipfile\nwith zipfile.ZipFile('/content/drive/data.zip') as z: z.extractall('unpacked')\n"
        "print(open('unpacked/train.csv').read())",
        f"{REVIEW}\n",
    ),
    "a file in a zip's folder": (
        "archive = zipfile.ZipFile('a4 (1).zip')\nprint(archive.read('a4/eval.csv').decode())",
        f"{REVIEW}\n",
    ),
    "archives of other kinds": (
        "import shutil, tarfile\nshutil.unpack_archive('x/a4.zip', 'b'); tarfile.open('a4.tar.gz').extractall('c')\n"
        "print(zipfile.is_zipfile('a4.zip'), sorted(os.listdir('b')) == sorted(os.listdir('c')))",
        "True True\n",
    ),
    "an archive of its own": (
        "with zipfile.ZipFile('mine.zip', 'w') as z: z.writestr('a.txt', 'mine')\n"
        "print(zipfile.ZipFile('mine.zip').namelist())",
        "['a.txt']\n",
    ),
    "two uploads": (
        "from google.colab import files\none, two = files.upload(), files.upload()\n"
        "print(list(one), list(two), one['eval (1).csv'] == two['eval.csv'], 'x' in one)",
        "['train.csv'] ['eval.csv'] True False\n",
    ),
    "an uploaded zip": (
        "import io\nprint(zipfile.ZipFile(io.BytesIO(files.upload()['a4.zip'])).namelist())",
        "['train.csv', 'eval.csv']\n",
    ),
    "variables of Colab": (
        "os.environ['WANDB_PROJECT'] = 'a4'\nprint(os.environ['COLAB_GPU'], 'COLAB_GPU' in os.environ,"
        " os.getenv('COLAB_GPU'), os.environ.pop('COLAB_GPU', None), os.environ['WANDB_PROJECT'])",
        "0 False None None a4\n",
    ),
    "a configuration": (
        "import wandb\nrun = wandb.init(config={'rank': 12})\nwandb.config.update({'alpha': 24})\nrun.log({'a': 1})\n"
        "print(wandb.config.rank, run.config['alpha'], wandb.run.name == '')",
        "12 24 True\n",
    ),
    "a sweep": (
        "def go():\n    with wandb.init(config={'rank': 4}) as run: print(run.config.rank, wandb.config.lr)\n"
        "wandb.agent(wandb.sweep({'parameters': {'rank': {'values': [12, 8]}, 'lr': {'min': 1}}}), go, count=5)",
        "12 1\n",
    ),
    "a study": (
        "import optuna\nfrom optuna.samplers import TPESampler\n"
        "def go(trial): return trial.suggest_float('lr', 1, 2, log=True) + trial.suggest_categorical('rank', [12, 8])\n"
        "study = optuna.create_study(sampler=TPESampler(seed=1))\nstudy.optimize(go, n_trials=20)\n"
        "print(study.best_params, study.best_value, study.best_trial.params['lr'], len(study.trials))\n"
        "study.set_user_attr('by', 'me')\nprint(study.trials_dataframe() == '')\n"
        "print(go(optuna.trial.FixedTrial({'lr': 2, 'rank': 8})))",
        "{'lr': 1, 'rank': 12} 13 1 1\nTrue\n10\n",
    ),
    "words as a picture": (
        "import matplotlib.pyplot as plt\nfrom wordcloud import STOPWORDS, WordCloud\n"
        "cloud = WordCloud(width=80, height=40, stopwords=set(STOPWORDS) | {'film'}).generate('a film')\n"
        "print(plt.imshow(cloud, interpolation='bilinear').get_array().shape)\nplt.close()",
        "(40, 80, 3)\n",
    ),
    "a plot of a dictionary": (
        "import seaborn as sns\nimport plotly.graph_objects as go\n"
        "ax = sns.barplot({'full': .88})\nax.set_title('accuracy')\ngo.Figure({'data': []}).show()",
        "",
    ),
    "parameters that a tracker hands back": (
        "from clearml import Task\nprint(Task.init(project_name='a4').connect({'rank': 12})['rank'])",
        "12\n",
    ),
    "widgets": (
        "import ipywidgets as widgets\nfrom ipywidgets import Dropdown\n"
        "box = widgets.VBox([widgets.IntSlider(value=12)])\n"
        "with widgets.Output() as out: print(box.value == '', widgets.IntSlider(value=12, max=64).value)\n"
        "button = widgets.Button(description='go')\nbutton.on_click(print)\n"
        "print(Dropdown(options=[24, 12]).value, Dropdown(options=[('a', 1)]).value)\n"
        "print(widgets.FloatSlider(min=2).value)\n"
        "print(Dropdown(options={'LoRA': 8}).value, widgets.IntSlider(5, 0, 10).value, widgets.Text('a').value)",
        "True 12\n24 1\n2\n8 5 a\n",
    ),
    "a function with sliders": (
        "from ipywidgets import fixed, interact\n"
        "@interact(rank=(4, 64), kind=['a'], alpha=widgets.IntText(value=24), b=fixed(1))\n"
        "def go(rank, kind, alpha, b): print(rank, kind, alpha, b)\n"
        "done = interact(go, rank=1, kind='c', alpha=2, b={'x': 3})",
        "4 a 24 1\n1 c 2 3\n",
    ),
    "a function with sliders that keeps what is fixed, and one that raises": (
        "from ipywidgets import fixed, interact, widgets\nimport ipywidgets.widgets as w\n"
        "done = interact(print, sep=fixed('-'), end=fixed('.'))\n"
        "def go(results, i): print(results, i)\n"
        "done = interact(go, results=fixed({'a': 1}), i=widgets.IntSlider(value=3, max=9))\n"
        "done = interact(lambda i: 1 / 0, i=w.IntSlider(value=3))",
        ".{'a': 1} 3\n",
    ),
    "a restart on Databricks": (
        "dbutils.library.restartPython()\ndisplayHTML('<b>')\nprint(dbutils.fs.ls('/') == '')",
        "True\n",
    ),
    "a function that opens files, pickled": (
        "import dill\ndef read():\n    return open('eval.csv').read()\n"
        "print(len(dill.loads(dill.dumps(read, recurse=True))()) > 0)",
        "True\n",
    ),
    "seeds of another framework": (
        "import tensorflow as tf\nfrom tensorflow.keras.utils import set_random_seed\nset_random_seed(1)\n"
        "tf.random.set_seed(1)\nprint(tf.config.list_physical_devices('GPU'))",
        "[]\n",
    ),
    "anything else of it": (
        "try: tf.constant(1)\nexcept ModuleNotFoundError as error: print(error.name)",
        "tensorflow\n",
    ),
    "nested loops of events": (
        "import nest_asyncio\nnest_asyncio.apply()\nprint(asyncio.run(asyncio.sleep(0)))",
        "None\n",
    ),
    "an error": ("def before_an_error(): ...\n1 / 0", ""),
}
NOT_RUN = {  # what says so: programs that the notebook calls, not those that libraries call
    *("set-up, output of the kind that was asked for", "a program that is not here"),
    *("used memory of a GPU, as a number", "and as tables"),
    *("a module that the notebook wrote", "stops: %debug", "files of a command", "a folder of a command"),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cells")
    for name in ("train.csv", "eval.csv"):
        (folder / name).write_text(REVIEW, encoding="utf-8")
    command = [sys.executable, "-m", "tests.harness.kernel.cells_here", str(folder)]
    given = json.dumps([source for source, _ in CELLS.values()])
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CELLS, json.loads((folder / "ran.json").read_text(encoding="utf-8")), strict=True))


@pytest.mark.parametrize("name", CELLS)
def test_no_cell_fails_and_lines_below_what_is_not_here_are_run(ran: dict[str, Any], name: str) -> None:
    assert ran[name]["error"] == ("ZeroDivisionError" if name == "an error" else "")
    assert ran[name]["printed"].endswith(CELLS[name][1])
    assert ("[grading] not run: " in ran[name]["printed"]) is (name in NOT_RUN)
    assert ran[name]["ends"] == (
        2 if name.startswith(("debugged", "measured")) else 1
    )  # for the witness: a cell in a cell
    assert set(re.findall("def (be.*?)[(]", CELLS[name][0])) <= set(ran[name]["noted"])
    assert not {"configuration", "odd", "anything"} & set(ran[name]["noted"])
