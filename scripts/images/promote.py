"""Give an environment the image that another one has: `scripts/promote.sh prediction dev staging`.

Nothing is built again: skopeo copies the tested image byte by byte, and its digest is written into the
target's infra/environments/<environment>.images.json. Exit status: 0 done, 1 failed (nothing was written
down), 2 wrong arguments.
"""

from infra import environment
from infra.environment import IMAGES, Environment
from scripts.command import CommandError, argument, command, load_environment
from scripts.images import attestation, image_registry


@command(
    "promote",
    argument("service", metavar="SERVICE", choices=IMAGES, help="%(choices)s"),
    argument("source", metavar="FROM", type=load_environment, help="environment that has the image"),
    argument("target", metavar="TO", type=load_environment, help="environment that is to have it"),
)
def main(service: str, source: Environment, target: Environment) -> int:
    """Copy the image to the target's registry, unless it is there, and record its digest."""
    for each in (source, target):
        if each.simulated:
            raise CommandError(f"{each.name} is simulated: it runs the sources and has no images")
    digest = source.images.get(service)
    if digest is None:
        raise CommandError(
            f"{source.name} has no image of {service}: run scripts/push_image.sh {service} {source.name}"
        )
    # The cleanup policy deletes untagged images; a tag made of the digest is the same in every registry.
    copied = f"{target.image_repository}/{service}:{digest.removeprefix('sha256:')}"
    image_registry.log_in(each.image_repository.partition("/")[0] for each in (source, target))
    done = "is there already"
    if image_registry.digest(copied) is None:
        image_registry.copy(f"{source.image_repository}/{service}@{digest}", copied)
        done = "copied"
    if (arrived := image_registry.digest(copied)) != digest:
        raise CommandError(f"{copied} is {arrived}, not {digest}: the copy is not the image")
    image = f"{target.image_repository}/{service}@{digest}"
    if target.signs_images and not attestation.signed(target, image):
        attestation.sign(target, image)
    file = environment.record_image(target.name, service, digest, directory=environment.directory())
    print(f"{service}@{digest} {done}; written to {file}: commit it, then deploy {target.name}-services")
    return 0
