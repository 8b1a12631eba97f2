"""Reads handwritten digits: an ordinary ADK algorithm, as an author would write it.

Input, JSON: `{"id": any, "pixels": [64 numbers from 0 to 16]}`, one 8×8 image row by row.
Output, JSON: `{"id": the same, "digit": 0..9, "probability": 0..1}`.

`load()` trains logistic regression on every second image of the UCI digits that scikit-learn ships
(1,797 real images); the other half stays unseen, so that whoever sends it measures something true.
"""

from Algorithmia import ADK
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PIXELS = 64


class InputError(Exception):
    error_type = "InputError"


def load():
    images, digits = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(images[::2], digits[::2])
    return {"model": model}


def apply(record, loaded):
    if not isinstance(record, dict) or "pixels" not in record:
        raise InputError('send {"id": …, "pixels": [64 numbers]}')
    pixels = record["pixels"]
    if not isinstance(pixels, list) or len(pixels) != PIXELS:
        raise InputError(f"pixels must be a list of {PIXELS} numbers")
    probabilities = loaded["model"].predict_proba([pixels])[0]
    digit = int(probabilities.argmax())
    return {
        "id": record.get("id"),
        "digit": digit,
        "probability": round(float(probabilities[digit]), 4),
    }


algorithm = ADK(apply, load)
algorithm.init("Algorithmia")
