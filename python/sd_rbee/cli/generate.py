"""`sd-rbee generate`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from sd_rbee.cli.image_options import image_options
from sd_rbee.cli.options import debug_option, model_options
from sd_rbee.cli.xl_options import xl_options

if TYPE_CHECKING:
    from sd_rbee.pipeline import Engine
    from sd_rbee.result import GenerationResult
    from sd_rbee.spec import GenerationParameters


@click.command()
@click.argument("prompt")
@click.option("-n", "--num-images", "num_images_per_prompt", type=int, default=1, show_default=True, help="Pictures.")
@click.option("--steps", "num_inference_steps", type=int, help="Sampling steps.")
@click.option("--seed", type=int, help="Of the first picture, the next have the next; random if left out.")
@click.option("--scheduler", metavar="NAME", help="ddim, euler, dpm++-2m …; `sd-rbee info` lists all.")
@click.option("--width", type=int, help="In pixels.")
@click.option("--height", type=int, help="In pixels.")
@click.option("--negative", "negative_prompt", metavar="TEXT", help="What to keep away from.")
@click.option("--guidance", "guidance_scale", type=float, help="How closely to follow the prompt.")
@click.option(
    "--guidance-rescale",
    type=float,
    default=0.0,
    show_default=True,
    help="How much of the contrast that guidance adds is taken back, 0 to 1.",
)
@click.option(
    "--guidance-start",
    type=float,
    default=0.0,
    show_default=True,
    help="Fraction of the steps before the first with guidance; a step without costs half.",
)
@click.option(
    "--guidance-end",
    type=float,
    default=1.0,
    show_default=True,
    help="Fraction of the steps up to the last with guidance.",
)
@click.option(
    "--deepcache-interval",
    type=int,
    default=1,
    show_default=True,
    help="Run the inner blocks of the UNet at every so many steps alone.",
)
@click.option(
    "--deepcache-branch",
    type=int,
    default=0,
    show_default=True,
    help="The skip connection inside of which blocks count as inner, 0 the outermost.",
)
@click.option("--clip-skip", type=int, help="Layers of the text encoders that are left out at their end.")
@click.option(
    "--prompt-syntax",
    type=click.Choice(["plain", "a1111"]),
    default="plain",
    show_default=True,
    help="a1111 reads prompts of any length with (emphasis:1.3), [less] and BREAK, as the webui does.",
)
@click.option(
    "--vae-tiling/--no-vae-tiling",
    default=None,
    help="Run the VAE in tiles: slower, in less memory. Left out, where the memory asks for it.",
)
@click.option("--eta", type=float, default=0.0, show_default=True, help="Noise of ddim and tcd, 0 to 1.")
@click.option("--karras/--no-karras", "use_karras_sigmas", default=None, help="Noise levels of Karras et al.")
@click.option(
    "--exponential/--no-exponential",
    "use_exponential_sigmas",
    default=None,
    help="Noise levels with even logarithms.",
)
@click.option("--beta/--no-beta", "use_beta_sigmas", default=None, help="Noise levels of a beta distribution.")
@click.option(
    "--zero-snr/--no-zero-snr",
    "rescale_betas_zero_snr",
    default=None,
    help="Begin without any signal, as some v-prediction models expect.",
)
@click.option("--spacing", "timestep_spacing", metavar="NAME", help="leading, trailing or linspace.")
@image_options
@xl_options
@model_options
@click.option(
    "--vae", metavar="VAE", help="An AutoencoderKL or AutoencoderTiny instead of the model's own; as --model."
)
@click.option(
    "--prediction-type", metavar="NAME", help="epsilon, v_prediction or sample, if the model says it wrongly."
)
@click.option("--variant", metavar="NAME", help="Which of a folder's weights to prefer, such as fp16.")
@click.option(
    "--engine",
    type=click.Choice(["native", "candle"]),
    default="native",
    show_default=True,
    help="Ours, or the reference.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="A .png, .jpg or .webp, replaced if it exists; a folder; or - for PNG bytes on stdout. "
    "Several pictures become a-1.png, a-2.png … of a.png. Left out: a new file named by prompt and seed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print paths, seeds, timings and parameters as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@debug_option
def generate(
    prompt: str,
    model: str,
    device: str,
    dtype: str,
    num_threads: int | None,
    vae: str | None,
    prediction_type: str | None,
    variant: str | None,
    engine: "Engine",
    output: str | None,
    as_json: bool,
    quiet: bool,
    **parameters: Unpack["GenerationParameters"],
) -> None:
    """Draw PROMPT and print where the picture is.

    What is left out is the model's own default.
    """
    to_stdout = output == "-"
    count = parameters["num_images_per_prompt"]
    if to_stdout and as_json:
        raise click.UsageError("stdout takes the picture (-o -) or the JSON (--json), not both.")
    if to_stdout and count != 1:
        raise click.UsageError("-o - takes one picture; name a file for several.")
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("stdout is a terminal; redirect it, or name a file.")

    from sd_rbee import CancelToken, images
    from sd_rbee.cli.downloads import fetch
    from sd_rbee.cli.outputs import Output
    from sd_rbee.cli.progress import reporter
    from sd_rbee.pipeline import Pipeline
    from sd_rbee.spec import GenerationSpec

    spec = GenerationSpec.of(prompt, **parameters)
    files = None if to_stdout else Output(None if output is None else Path(output), prompt, count)
    fetch(model, vae, quiet=quiet)
    with reporter(quiet=quiet) as on_step:
        pipe = Pipeline.load(
            model, device, dtype, engine, num_threads, vae=vae, prediction_type=prediction_type, variant=variant
        )
        result = pipe.run(spec, on_step=on_step, cancel=CancelToken())
    if not quiet:
        _report(result)
    if files is None:
        sys.stdout.buffer.write(images.encode(result.images[0], "PNG"))
        return
    paths = [str(path) for path in files.write(result)]
    click.echo(_to_json(result, paths) if as_json else "\n".join(paths))


def _report(result: "GenerationResult") -> None:
    for cut in result.truncations:
        click.echo(
            f"warning: {cut.prompt} has {cut.total} tokens, {cut.kept} were read; not seen: {cut.dropped_text[:200]!r}",
            err=True,
        )
    for text in result.warnings:
        click.echo(f"warning: {text}", err=True)
    phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in result.timings.items() if phase != "total")
    seeds = ", ".join(map(str, result.seeds))
    click.echo(f"seed {seeds}; {result.timings['total']:.2f} s ({phases})", err=True)


def _to_json(result: "GenerationResult", paths: list[str]) -> str:
    pictures = [{"path": path, "seed": seed} for path, seed in zip(paths, result.seeds, strict=True)]
    truncations = [
        {"prompt": cut.prompt, "kept": cut.kept, "total": cut.total, "dropped_text": cut.dropped_text}
        for cut in result.truncations
    ]
    return json.dumps(
        {
            "images": pictures,
            "timings": result.timings,
            "peak_memory": result.peak_memory,
            "truncations": truncations,
            "warnings": result.warnings,
            "residency_events": result.residency_events,
            "parameters": result.parameters,
        }
    )
