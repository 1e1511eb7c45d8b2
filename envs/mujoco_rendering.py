"""Pictures of MuJoCo states: the model's camera, a mark for the task, and a line of text."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from envs.task_distribution import Array

__all__ = ["Mark", "caption", "render_mujoco"]

_SIZE = (360, 480)
_RED = (0.84, 0.15, 0.16, 1.0)


class Mark(NamedTuple):
    """What is drawn into the scene to show the task.

    Attributes:
        position: of a ball, [3], in m; None for no ball.
        radius: of the ball, in m.
        arrow: (x, y) of the direction of an arrow above the robot; None for no arrow.
    """

    position: tuple[float, float, float] | None = None
    radius: float = 0.2
    arrow: tuple[float, float] | None = None


@lru_cache(maxsize=4)
def _renderer(model: mujoco.MjModel) -> tuple[mujoco.Renderer, mujoco.MjData]:
    try:
        return mujoco.Renderer(model, *_SIZE), mujoco.MjData(model)
    except Exception as error:
        raise RuntimeError(
            "MuJoCo cannot draw here. Without a screen set MUJOCO_GL=egl (Debian packages libegl1 and libgl1-mesa-dri) "
            f"or MUJOCO_GL=osmesa (libosmesa6) before Python starts. MuJoCo said: {error}"
        ) from error


def render_mujoco(model: mujoco.MjModel, state: "Array", text: str, mark: Mark | None = None) -> NDArray[np.uint8]:
    """The state from a camera that follows the robot, with the mark and with `text` at the lower edge, [360, 480, 3].

    The camera is the model's first one; where a mark has a place that may be far away, one from above that sees both.
    """
    renderer, data = _renderer(model)
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_forward(model, data)
    far = mark is not None and mark.position is not None
    camera = _above(data.xpos[1], mark) if mark is not None and far else (0 if model.ncam else _following(model, data))
    renderer.update_scene(data, camera=camera)
    if mark is not None:
        _draw_mark(renderer.scene, mark, data.xpos[1])
    return caption(renderer.render(), text)


def _above(robot: "Array", mark: Mark) -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.lookat[:] = (robot + np.asarray(mark.position)) / 2
    camera.distance = 6.0 + 1.2 * float(np.linalg.norm(robot[:2] - np.asarray(mark.position)[:2]))
    camera.elevation, camera.azimuth = -50.0, 90.0
    return camera


def _following(model: mujoco.MjModel, data: mujoco.MjData) -> mujoco.MjvCamera:
    """For models without a camera: one that looks at the first body."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = data.xpos[min(1, model.nbody - 1)]  # a tracking camera would arrive late
    camera.distance, camera.elevation, camera.azimuth = 2.5 * model.stat.extent, -20.0, 90.0
    return camera


def _draw_mark(scene: mujoco.MjvScene, mark: Mark, robot: "Array") -> None:
    if mark.position is not None:
        _add(scene, mujoco.mjtGeom.mjGEOM_SPHERE, (mark.radius,) * 3, mark.position, np.eye(3))
    if mark.arrow is not None:
        along = np.array([*mark.arrow, 0.0]) / np.hypot(*mark.arrow)
        side = np.cross([0.0, 0.0, 1.0], along)
        # An arrow points along its frame's third axis.
        frame = np.stack([side, np.cross(along, side), along], axis=1)
        _add(scene, mujoco.mjtGeom.mjGEOM_ARROW, (0.04, 0.04, 0.8), robot + np.array([0.0, 0.0, 0.7]), frame)


def _add(scene: mujoco.MjvScene, shape: int, size: tuple[float, ...], position: Any, frame: "Array") -> None:
    if scene.ngeom < scene.maxgeom:
        geom = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(geom, shape, np.array(size), np.asarray(position, float), frame.flatten(), np.array(_RED))
        scene.ngeom += 1


def caption(frame: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The frame with `text` on a dark band at its lower edge."""
    if not text:
        return frame
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture, "RGBA")
    width, height = picture.size
    draw.rectangle((0, height - 26, width, height), fill=(0, 0, 0, 150))
    size = 16
    while size > 8 and draw.textlength(text, ImageFont.load_default(size)) > width - 16:
        size -= 1
    draw.text((8, height - 22), text, fill="white", font=ImageFont.load_default(size))
    return np.asarray(picture)
