"""Which frames make a clip: arithmetic on 0-based indices alone, int64, no files and no images.

Every function needs a video of at least one frame and raises ``ValueError`` for an empty one. Dense
clips of short videos wrap around to the start, as released. The functions whose names begin with
``tsm`` are the TSM release's (arXiv:1811.08383); PaddleVideo's ``select_left`` sampling is its
`tsm_segments` in training and `tsm_centres` after it.
"""

import numpy as np

Rng = np.random.Generator

TSM_WINDOW = 64  # frames that a dense TSM clip is spread over


def dense_clips(
    num_frames: int, clip_len: int, stride: int, num_clips: int, even_starts: bool = False
) -> np.ndarray:
    """Return the test clips of a video: evenly spread starts, cut off near the end, as released.

    Clip k starts at ``int(k * F / num_clips)``, but at most one past the last full start, so most
    clips of a short video coincide; a video shorter than a clip has all its starts at 0.

    Args:
        num_frames: Number of frames of the video, F.
        clip_len: Number of frames of a clip, T.
        stride: Frames from one frame of the clip to the next.
        num_clips: Number of clips wanted.
        even_starts: True spreads the starts over all full starts instead, both ends included.

    Returns:
        Indices, (num_clips, clip_len).
    """
    bound = _num_starts(num_frames, clip_len, stride)
    if even_starts:
        # What ten clips are mostly taken to be, but not what the paper's numbers are of.
        starts = np.linspace(0, bound - 1, num_clips).round().astype(np.int64)
    elif bound == 1:
        # So it is for 16x32 on 300 frames: its ten clips are one, and its 30 views three crops of
        # it.
        starts = np.zeros(num_clips, dtype=np.int64)
    else:
        # 300 frames at 8x32 start at 0, 30 and then 45 eight times: the last clip has 8 of 10 votes
        # in the published mean. `bound`, not `bound - 1`: one past the last full start, as
        # released, so that with a stride of 1 the last frame wraps around.
        starts = np.array([min(int(k * num_frames / num_clips), bound) for k in range(num_clips)])
    return _clips_from(starts, num_frames, clip_len, stride)


def middle_dense_clips(num_frames: int, clip_len: int, stride: int, num_clips: int) -> np.ndarray:
    """Return MMAction2's test clips: one lies in the middle, several reach from end to end.

    A start is full where the clip's last frame is there, which is ``stride - 1`` later than for
    `dense_clips`.

    Args:
        num_frames: Number of frames of the video, F.
        clip_len: Number of frames of a clip, T.
        stride: Frames from one frame of the clip to the next.
        num_clips: Number of clips wanted.

    Returns:
        Indices, (num_clips, clip_len).
    """
    _check_not_empty(num_frames)
    # Here a clip ends at its last frame; `_num_starts` wants the stride after it, too.
    spare = max(num_frames - 1 - (clip_len - 1) * stride, 0)
    if num_clips == 1:
        starts = np.array([spare // 2])
    else:
        starts = np.round(np.arange(num_clips) * (spare / (num_clips - 1))).astype(np.int64)
    return _clips_from(starts, num_frames, clip_len, stride)


def random_dense_clip(
    num_frames: int, clip_len: int, stride: int, rng: Rng, draws_last_start: bool = False
) -> np.ndarray:
    """Return one training clip with a random start.

    Args:
        num_frames: Number of frames of the video, F.
        clip_len: Number of frames of the clip, T.
        stride: Frames from one frame of the clip to the next.
        rng: Generator that draws one integer, or none when only one start exists.
        draws_last_start: True draws the last full start too; the release never does.

    Returns:
        Indices, (clip_len,).
    """
    bound = _num_starts(num_frames, clip_len, stride)
    # The release takes one off an end that is left out anyway: its last full start never comes.
    end = bound if draws_last_start else bound - 1
    # No draw where there is no choice: the next draw of the clip is then the release's, too.
    start = rng.integers(0, end) if bound > 1 else 0
    return _clips_from(np.array([start]), num_frames, clip_len, stride)[0]


def tsn_uniform(num_frames: int, num_segments: int, rng: Rng | None = None) -> np.ndarray:
    """Pick one frame out of each of equal spans (TSN, arXiv:1608.00859).

    With a generator, the spans are ``F // T`` frames long and the draw is uniform in each, as
    released; where F < T, the spans are shorter than a frame and frames repeat in order (the
    release crashes there). Without one, the centres of spans of F / T frames; the release opens
    the frame before each of them, see `tsn_uniform_clips`.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        rng: Generator that draws T integers; None takes the centres.

    Returns:
        Indices, (num_segments,).
    """
    _check_not_empty(num_frames)
    segments = np.arange(num_segments)
    if rng is None:
        return _centres(num_frames, num_segments)
    # Whole frames, as released: up to T - 1 frames at the end of a video are never trained on.
    span = num_frames // num_segments
    if span:
        return segments * span + rng.integers(span, size=num_segments)
    inside = rng.random(num_segments)
    indices = ((segments + inside) * num_frames / num_segments).astype(np.int64)
    return np.minimum(indices, num_frames - 1)  # the product can round up to the end


def tsn_uniform_clips(
    num_frames: int, num_segments: int, twice: bool = False, as_released: bool = False
) -> np.ndarray:
    """Return the uniform test clips: the centres of the spans and, if twice, their starts.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of a clip, T.
        twice: True adds the second clip.
        as_released: True has the release's two faults, for parity. The first clip is one frame
            early, index -1 where the release opens a frame 0 that does not exist; the second is the
            last frame of the first, T times.

    Returns:
        Indices, (1 or 2, num_segments).
    """
    _check_not_empty(num_frames)
    first = _centres(num_frames, num_segments)
    tick = num_frames / num_segments
    second = np.array([int(tick * i) for i in range(num_segments)])
    # It opens file i for the 0-based frame i, where files count from 1; and its second pass
    # computes other places, but opens the first pass's last frame.
    if as_released:
        first = first - 1
        second = np.full_like(first, first[-1])
    return np.stack([first, second]) if twice else first[None]


def tsm_segments(num_frames: int, num_segments: int, rng: Rng, snippet_len: int = 1) -> np.ndarray:
    """Pick one frame at random out of each of T equal spans; the training clip of the release.

    A video of fewer frames than segments gives its first frame T times. The release crashes on
    one shorter than a snippet; that gives its first frame too.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        rng: Generator that draws T integers in one call, or none where the first frame repeats.
        snippet_len: Number of successive frames read from each index on: 1, or 5 of optical flow.

    Returns:
        Indices, (num_segments,).
    """
    _check_not_empty(num_frames)
    num_starts = num_frames - snippet_len + 1
    span = num_starts // num_segments
    if span > 0:
        return np.arange(num_segments) * span + rng.integers(span, size=num_segments)
    if num_frames > num_segments and num_starts > 0:
        # Reached with snippets of flow alone: of RGB, F > T leaves a span of at least one frame.
        return np.sort(rng.integers(num_starts, size=num_segments))
    # The published models saw such videos as stills; frames in order would be another training.
    return np.zeros(num_segments, dtype=np.int64)


def tsm_centres(num_frames: int, num_segments: int, snippet_len: int = 1) -> np.ndarray:
    """Pick the centre of each of T equal spans; the validation clip of the release.

    A video that has no frame to spare, F = T included, gives its first frame T times, as
    released; `tsn_uniform` gives all its frames.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        snippet_len: Number of successive frames read from each index on.

    Returns:
        Indices, (num_segments,).
    """
    _check_not_empty(num_frames)
    # `<=` as released: with F = T all frames would fit, and yet it validates on the first.
    if num_frames <= num_segments + snippet_len - 1:
        return np.zeros(num_segments, dtype=np.int64)
    return _centres(num_frames - snippet_len + 1, num_segments)


def tsm_clips(
    num_frames: int, num_segments: int, twice: bool = False, snippet_len: int = 1
) -> np.ndarray:
    """Return the test clips: the centres of T equal spans and, if twice, their starts.

    The frames of a short video repeat in order. Of one shorter than a snippet the release asks for
    frames before the first; that gives the first.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of a clip, T.
        twice: True adds the second clip.
        snippet_len: Number of successive frames read from each index on.

    Returns:
        Indices, (1 or 2, num_segments).
    """
    _check_not_empty(num_frames)
    # Unlike validation, the release's test has no case for short videos: they repeat evenly.
    num_starts = max(num_frames - snippet_len + 1, 0)
    tick = num_starts / num_segments
    starts = np.array([int(tick * i) for i in range(num_segments)])
    return np.stack([_centres(num_starts, num_segments), starts][: 2 if twice else 1])


def tsm_dense_clip(
    num_frames: int, num_segments: int, rng: Rng, draws_last_start: bool = False
) -> np.ndarray:
    """Return T frames ``64 // T`` apart from a random start; training and validation alike.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of the clip, T.
        rng: Generator that draws one integer, or none when only one start exists.
        draws_last_start: True draws the last full start too; the release never does.

    Returns:
        Indices, (num_segments,).
    """
    bound = _num_starts(num_frames, clip_len=TSM_WINDOW, stride=1)
    # Exclusive twice, as for `random_dense_clip`: 65 frames always start at 0.
    start = rng.integers(0, bound if draws_last_start else bound - 1) if bound > 1 else 0
    starts = np.array([start])
    return _clips_from(starts, num_frames, num_segments, TSM_WINDOW // num_segments)[0]


def tsm_dense_clips(num_frames: int, num_segments: int, num_clips: int = 10) -> np.ndarray:
    """Return the dense test clips: starts spread evenly from the first to the last full one.

    Args:
        num_frames: Number of frames of the video, F.
        num_segments: Number of frames of a clip, T.
        num_clips: Number of clips wanted; the release takes 10.

    Returns:
        Indices, (num_clips, num_segments).
    """
    bound = _num_starts(num_frames, clip_len=TSM_WINDOW, stride=1)
    # Cut down to whole frames, not rounded: the published 30 views rest on these ten starts.
    starts = np.linspace(0, bound - 1, num_clips, dtype=np.int64)
    return _clips_from(starts, num_frames, num_segments, TSM_WINDOW // num_segments)


def _centres(num_frames: int, num_segments: int) -> np.ndarray:
    tick = num_frames / num_segments
    # Python's floats in the release's order: another order could cut down to another frame.
    return np.array([int(tick / 2.0 + tick * i) for i in range(num_segments)])


def _num_starts(num_frames: int, clip_len: int, stride: int) -> int:
    """Count the starts from which a clip fits, stride after its last frame included; at least 1."""
    _check_not_empty(num_frames)
    return max(num_frames - clip_len * stride + 1, 1)


def _clips_from(starts: np.ndarray, num_frames: int, clip_len: int, stride: int) -> np.ndarray:
    steps = np.arange(clip_len) * stride
    # A short video begins again, as released. Holding its last frame would be another clip.
    return ((starts[:, None] + steps) % num_frames).astype(np.int64)  # (num_clips, clip_len)


def _check_not_empty(num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"a video needs at least one frame, got {num_frames}")
