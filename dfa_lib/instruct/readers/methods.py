"""Forgery methods of the research data sets under all the names they go by."""

import re

from dfa_lib.taxonomy import Category

# Folder, label, README and file name of a method differ: "method=other=names", no signs.
_TABLE = {
    Category.FS: "fsgan faceswap=fffs simswap inswap=inswapper blendface uniface mobileswap e4s"
    " facedancer deepfacelab deepfakes=ffdf faceshifter=fffh=ffsh roop uadfv dfdc dfdcp"
    " deepfakedetection=dfd celebdf=celebdfv1=celebdfv2",
    Category.FR: "fomm facevid2vid=fsvid2vid wav2lip mraa oneshot=oneshotfree pirender"
    " tpsm=tpsmm lia dagan=danet sadtalker mcnet hyperreenact heygen face2face=fff2f"
    " neuraltextures=neuraltexture=ffnt",
    Category.EFS: "vqgan stylegan2 stylegan3 styleganxl sd21 ddpm=ddim rddm pixart=pixartalpha"
    " dit=ditxl2 sit=sitxl2 midjourney=midjourney6 whichisreal=whichfaceisreal",
    Category.FE: "collabdiff e4e stargan starganv2 styleclip",
}
_BY_NAME = {
    name: (category, names.partition("=")[0])
    for category, row in _TABLE.items()
    for names in row.split()
    for name in names.split("=")
}


def method(name: str) -> tuple[Category, str] | None:
    """Category and method of a folder, a label or a file name; None if it is none we know."""
    plain = re.sub(r"[^a-z0-9]", "", re.sub(r"_fake[ab]?$|_real$", "", name.lower()))
    return _BY_NAME.get(plain)
