"""The examples below each command's help: what stands after `lift-harness`."""

EXAMPLES = {
    "": (
        "train-eval",
        "generate --task sudoku_mini --problem 6 --show",
        "eval --model lift-tiny --tasks mini",
    ),
    "eval": (
        "eval --model lift-tiny --tasks sudoku_mini --limit 32",
        "eval --model FOLDER --peft ADAPTER --tasks gsm8k,math500",
        "eval --model FOLDER --tasks aime24 --samples 16",
        "eval --model FOLDER --tasks gsm8k --gen-kwargs gen_length=512",
    ),
    "sweep": (
        "sweep --model lift-tiny --tasks mini --grid cache=none,dual",
        "sweep -m FOLDER --tasks gsm8k --grid tokens_per_step=1,2,4",
        "sweep my-sweep.yaml --limit 64 --dry-run",
    ),
    "score": ("score results/mine/samples.jsonl --task lift_gsm8k",),
    "generate": (
        "generate --task sudoku_mini --problem 6 --show",
        "generate --task gsm8k --problem 0 --model FOLDER",
        "generate 'Why is the sky blue?' -m FOLDER --set temperature=0.7",
        "generate - --model FOLDER --json < question.txt",
    ),
    "chat": (
        "chat --model GSAI-ML/LLaDA-8B-Instruct --set gen_length=256",
        "chat --model FOLDER --peft ADAPTER --system 'Be brief.'",
    ),
    "analyze": (
        "analyze --model lift-tiny --data quickstart",
        "analyze --model FOLDER --data s1k --t-bins 0.25,0.75",
    ),
    "doctor": (
        "doctor",
        "doctor lift-tiny",
        "doctor FOLDER --peft ADAPTER --gen-length 512 --memory 24",
    ),
    "merge": ("merge FOLDER ADAPTER merged", "merge FOLDER ADAPTER merged --dtype bfloat16"),
    "train-eval": (
        "train-eval",
        "train-eval quickstart --set seeds=3 --output runs/three",
        "train-eval my.yaml --dry-run",
        "train-eval llada-8b-s1k --nproc 8",
    ),
    "train": (
        "train lift-tiny-base",
        "train my.yaml --set training.learning_rate=1e-4 --nproc 4",
    ),
    "merge-runs": (
        "merge-runs runs/vanilla runs/lift-h3 --output runs/both",
        "merge-runs parts/0 parts/1 parts/2 --output runs/table1",
    ),
    "reproduce": ("reproduce runs/quickstart", "reproduce runs/quickstart --output runs/again"),
    "compare": (
        "compare runs/quickstart",
        "compare runs/a runs/b --name ours=runs/a --tasks gsm8k,aime24",
        "compare runs/quickstart --style mean-std --output table.tex",
        "compare runs/quickstart --flips flips.jsonl",
    ),
    "report": ("report runs/quickstart", "report runs/quickstart --output report.html"),
    "data": ("data preview quickstart",),
    "data preview": (
        "data preview quickstart",
        "data preview my.yaml --n 5 --t 0.3 --method lift-h3",
    ),
    "data annotate": (
        "data annotate gsm8k --endpoint http://HOST:8000/v1 --model NAME",
        "data annotate my.jsonl --show 2",
    ),
    "data marks": ("data marks gsm8k", "data marks my.jsonl --n 5"),
    "recipes": ("recipes list", "recipes show quickstart"),
    "recipes list": ("recipes list",),
    "push": (
        "push runs/quickstart/lift-h3 OWNER/NAME --dry-run",
        "push runs/table1/lift-h3/seed-0 OWNER/NAME --public",
    ),
    "settings": ("settings training", "settings decoding"),
    "recipes show": (
        "recipes show quickstart",
        "recipes show quickstart --comments",
        "recipes show llada-8b-s1k --set seeds=1 > my.yaml",
    ),
}
