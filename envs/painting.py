"""Pictures of MuJoCo states, with a line of text drawn into them."""

from functools import lru_cache
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from envs.definition import Array
    from envs.mujoco_simulation import MujocoSerial

__all__ = ["caption", "paint_mujoco"]

_SIZE = (360, 480)


@lru_cache(maxsize=4)
def _renderer(model: mujoco.MjModel) -> mujoco.Renderer:
    try:
        return mujoco.Renderer(model, *_SIZE)
    except Exception as error:
        raise RuntimeError(
            "MuJoCo cannot draw here. Without a screen set MUJOCO_GL=egl (Debian packages libegl1 and libgl1-mesa-dri) "
            f"or MUJOCO_GL=osmesa (libosmesa6) before Python starts. MuJoCo said: {error}"
        ) from error


def paint_mujoco(simulator: "MujocoSerial", state: "Array", text: str) -> NDArray[np.uint8]:
    """The state from the model's first camera, with `text` at the lower edge, [360, 480, 3]."""
    model, data = simulator.model, simulator.data
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    mujoco.mj_forward(model, data)
    renderer = _renderer(model)
    renderer.update_scene(data, camera=0 if model.ncam else -1)
    return caption(renderer.render(), text)


def caption(frame: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The frame with `text` on a dark band at its lower edge."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture, "RGBA")
    width, height = picture.size
    draw.rectangle((0, height - 26, width, height), fill=(0, 0, 0, 150))
    draw.text((8, height - 22), text, fill="white", font=ImageFont.load_default(16))
    return np.asarray(picture)
