"""A face in a picture: landmarks, alignment, region masks, and the detector that finds it."""
