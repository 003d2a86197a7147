"""The command `environment`."""

from absl import flags

from keras_maskrcnn.cli import outputs, paths
from keras_maskrcnn.cli.definer import Definer


def environment(options: flags.FlagValues) -> None:
    """Prints versions, machine and speed, for bug reports. Sends nothing."""
    from keras_maskrcnn import environment

    if options.output:
        paths.refuse_existing(options.output, options.overwrite)
    report = environment.collect(measure=options.measure)
    if not options.quiet:
        print(environment.text(report))
    if options.output:
        outputs.write_output(options.output, report, indent=1)


def environment_flags(values: flags.FlagValues) -> None:
    """Defines the flags of `environment`."""
    define = Definer(values)
    define.string("output", None, "JSON file to write the same to.")
    define.boolean(
        "measure",
        True,
        "Time a block of the backbone in float32 and in 16 bits, which takes a few seconds.",
    )
    define.boolean("overwrite", False, "Replace --output if it exists.")
